"""Headless Chromium, driven over the DevTools protocol: one process, a fresh page for each test."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse

import websocket  # Debian: python3-websocket

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DEADLINE = 60  # seconds for anything that is waited for; a machine under load is slow, not broken


class Chromium:
    """The browser process. No sandbox: tests run as root in containers, on pages this repository has made."""

    def __init__(self):
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise RuntimeError("no Chromium: scripts/setup installs it")
        self.folder = tempfile.mkdtemp(prefix="gradoracle-chromium-")
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--disable-default-apps", "--no-proxy-server", "--hide-scrollbars", "--force-device-scale-factor=1",
             "--lang=en-US", "--remote-allow-origins=*", "--remote-debugging-port=0",
             f"--user-data-dir={self.folder}/profile", "about:blank"],
            stdout=self.log, stderr=self.log, env={**os.environ, "HOME": self.folder})
        port_file = os.path.join(self.folder, "profile", "DevToolsActivePort")
        lines = wait_for(lambda: read_lines(port_file), "Chromium to listen")
        self.connection = Connection(f"ws://127.0.0.1:{lines[0]}{lines[1]}")

    def close(self):
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, path, width=1280, height=900, dark=False):
        """The file as a page, once its script says that everything is drawn."""
        return Page(self.connection, path, width, height, dark)


class Connection:
    """Calls and events of one DevTools socket."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=DEADLINE, max_size=None)
        self.last_id = 0
        self.listeners = {}

    def close(self):
        self.socket.close()

    def call(self, method, session=None, **parameters):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self.socket.send(json.dumps(message))
        wanted = self.last_id
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer and answer.get("sessionId") in self.listeners:
                self.listeners[answer["sessionId"]].append(answer)


class Page:
    def __init__(self, connection, path, width, height, dark):
        self.connection = connection
        self.events = []
        self.target = connection.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = connection.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        connection.listeners[self.session] = self.events
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.addScriptToEvaluateOnNewDocument", source="window.policyViolations = [];"
                  "document.addEventListener('securitypolicyviolation',"
                  " (event) => policyViolations.push(event.violatedDirective + ' ' + event.blockedURI));")
        self.call("Page.navigate", url="file://" + urllib.parse.quote(os.path.abspath(path)))
        self.drawn = int(wait_for(lambda: self.evaluate("document.documentElement?.dataset.drawn || ''"), "the page to be drawn"))
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def close(self):
        del self.connection.listeners[self.session]
        self.connection.call("Target.closeTarget", targetId=self.target)

    def call(self, method, **parameters):
        return self.connection.call(method, session=self.session, **parameters)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
                           allowUnsafeEvalBlockedByCSP=False)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return result["result"].get("value")

    def complaints(self):
        """What the console holds: warnings, errors, uncaught exceptions, blocked scripts and styles."""
        self.evaluate("0")  # whatever was sent before has arrived
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(" ".join(str(argument.get("value", argument.get("description"))) for argument in parameters["args"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return found + self.evaluate("window.policyViolations")

    def requests(self):
        self.evaluate("0")
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    def move_mouse(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, whole=True):
        parameters = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            parameters["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"])

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"])


def read_lines(path):
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        return lines if len(lines) == 2 else None
    except FileNotFoundError:
        return None


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {DEADLINE} s for {what}")
