//! The notification service: what users are told, in which words and over which channel.
