"""Only the requests, from one thread: no folder, no files. Starts when a line comes: python bare.py URL COUNT"""

import sys

import requests

URL, COUNT = sys.argv[1], int(sys.argv[2])
BODIES = [
    {"dateRecorded": "2026-01-01T12:00:00Z", "scoreId": "PHQ9", "scoreType": "sum", "scoreData": {"value": number}}
    for number in range(COUNT)
]
session = requests.Session()
print("ready", flush=True)
sys.stdin.readline()
for body in BODIES:
    session.put(URL, json=body, headers={"Authorization": "Bearer abc"}, timeout=30).raise_for_status()
sys.stdin.readline()  # stays, so that it can be measured
