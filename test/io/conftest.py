import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # bag_maker, map_maker
# landmark_drive_maker
sys.path.insert(0, str(Path(__file__).parents[1] / "mapping" / "loops"))
