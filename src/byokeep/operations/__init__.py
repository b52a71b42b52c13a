"""What keeps the service in order over months: the list of what is due, the work it starts, and who is notified."""
