"""One module for each library, or group of libraries, that is measured in a process of its own: ``SUBJECTS``."""
