"""Filters that hold messages back until they can be used together: the API of message_filters.

A stand-in for machines where no ROS distribution brings the package. Names, arguments and results
are those of the original's Python part.
"""

from message_filters.cache import Cache
from message_filters.simple_filter import SimpleFilter, Subscriber
from message_filters.synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer

__all__ = [
    "ApproximateTimeSynchronizer",
    "Cache",
    "SimpleFilter",
    "Subscriber",
    "TimeSynchronizer",
]
