"""What files say of themselves: units, medium, frame, grid; compared with the settings."""
