"""What a lab's IT person would write on an afternoon: python script.py DROP DONE URL THREADS"""

import json
import os
import queue
import shutil
import sys
import threading

import requests
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

DROP, DONE, URL, THREADS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
paths: queue.Queue[str] = queue.Queue()


class Handler(FileSystemEventHandler):
    seen: set[str] = set()  # noqa: RUF012

    def on_created(self, event: FileSystemEvent) -> None:
        if os.path.getsize(event.src_path):  # renamed in; what is being written is still empty
            self.take(str(event.src_path))

    def on_closed(self, event: FileSystemEvent) -> None:
        self.take(str(event.src_path))

    def take(self, path: str) -> None:
        if path not in self.seen:
            self.seen.add(path)
            paths.put(path)


def work() -> None:
    while True:
        path = paths.get()
        try:
            with open(path) as file:
                score = json.load(file)
            url = f"{URL}/v2/org/assessment/{score.pop('assessmentId')}/put-score"
            requests.put(url, json=score, headers={"Authorization": "Bearer abc"}, timeout=30).raise_for_status()
            shutil.move(path, DONE)
        except Exception as error:
            print(path, error, flush=True)


for _ in range(THREADS):
    threading.Thread(target=work, daemon=True).start()
observer = Observer()
observer.schedule(Handler(), DROP)
observer.start()
print("watching", flush=True)
observer.join()
