"""The routes of the service, one room for each subject."""
