"""The only loop (loop.py). It keeps the routes (roster.py, desks.py), gives their files their turns (visits.py), and
tells systemd how it stands (standing.py)."""

from canarysync.daemon.loop import Daemon
from canarysync.daemon.messages import Work

__all__ = ["Daemon", "Work"]
