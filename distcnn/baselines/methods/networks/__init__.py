"""Published networks, with their own layers, schedules and errors."""
