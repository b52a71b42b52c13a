"""Messages to people, sent through Apprise."""
