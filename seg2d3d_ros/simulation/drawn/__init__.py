"""True houses drawn by hand: from a real drive to a drawing, and from it to a bag with truth."""
