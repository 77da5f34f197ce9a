"""Reading and making point clouds: the API of sensor_msgs_py.

A stand-in for machines where no ROS distribution brings the package.
"""
