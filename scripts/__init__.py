"""Set-up and start scripts: standard library only, since they run before anything is installed."""
