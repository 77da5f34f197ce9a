"""Install the ROS-free library and the command line; every fact is in pyproject.toml."""

from setuptools import setup

setup()
