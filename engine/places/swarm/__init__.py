"""Docker Swarm as a place: one service for each app, through a manager's Engine API."""
