"""The page in a real browser: draws everything, asks no network, fits screens and paper, and runs nothing that data says."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from chromium import Chromium

PROGRAM = os.environ["GRADORACLE_TEST_CLIENT"]
REPORTS = pathlib.Path(os.environ["GRADORACLE_TEST_REPORTS"])
ALL_FIGURES = {"leakage", "attacks", "defences", "spectrum", "alignment", "calibration", "label_privacy"}
FIGURES = {"clipped": ALL_FIGURES | {"gradient_privacy"}, "full": ALL_FIGURES, "hostile": ALL_FIGURES, "single": ALL_FIGURES, "crowded": ALL_FIGURES, "minimal": {"spectrum"}}

# Figure -> number of marks (paths with an outline, rules and texts inside the marks of the drawing, axes left out).
MARKS = """(() => {
  const counts = {};
  for (const chart of document.querySelectorAll('.chart')) {
    const marks = [...chart.querySelectorAll('svg .mark-symbol, svg .mark-line, svg .mark-area, svg .mark-rect')]
      .filter((group) => !group.closest('.role-axis'));
    counts[chart.dataset.figure] = marks.flatMap((group) => [...group.querySelectorAll('path')])
      .filter((path) => path.getAttribute('d') && path.getBoundingClientRect().width + path.getBoundingClientRect().height > 0).length;
  }
  return counts;
})()"""
# The middle of the largest invisible symbol's first point: what the mouse meets.
FIRST_POINT = """(() => {
  document.querySelector('[data-figure=leakage]').scrollIntoView({block: 'center', behavior: 'instant'});
  const groups = document.querySelectorAll('[data-figure=leakage] svg .mark-symbol');
  const box = groups[groups.length - 1].querySelector('path').getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""
TOOLTIP = "(() => { const tip = document.querySelector('#tooltip.shown'); return tip ? tip.textContent : ''; })()"
COLOURS = """(() => {
  const of = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
  return {page: of('html', 'backgroundColor'), text: of('body', 'color'), muted: of('.lead', 'color'),
          axis: of('[data-figure=leakage] svg .role-axis-label text', 'fill'),
          line: of('[data-figure=leakage] svg .mark-line path', 'stroke')};
})()"""


def single_point(report):
    """Every curve cut to its first point: scales whose ends coincide."""
    report["strongest"] = report["strongest"][:1]
    for curve in [report["accountant"], *report["attacks"], *report["calibration"], report["label_privacy"]]:
        curve["curve"] = curve["curve"][:1]
    report["spectrum"].update(true=[1.0], recovered=[1.0])
    report["alignment"] = report["alignment"][:1]
    report["defences"] = report["defences"][:1]
    return report


def clipped(report):
    """An oracle that clips: an epsilon of rows beside that of labels."""
    report["gradient_privacy"] = report["label_privacy"]
    return report


def crowded(report):
    """As many attacks as an audit may have, each in four variants."""
    variants = ("", ", unit diagonal", ", shrunk", ", unit diagonal and shrunk")
    report["attacks"] = [{**attack, "name": attack["name"] + str(i), "title": attack["title"] + variant}
                         for attack in report["attacks"] for i, variant in enumerate(variants)]
    for defence in report["defences"]:
        defence["cells"] = [{**cell, "attack": cell["attack"] + str(i)} for cell in defence["cells"] for i in range(len(variants))]
    return report


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)" (WCAG 2.1)."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1:-1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="gradoracle-report-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.reports = {name: json.loads((REPORTS / f"{name}.json").read_text()) for name in ("full", "minimal", "hostile")}
        cls.reports["single"] = single_point(json.loads((REPORTS / "full.json").read_text()))
        cls.reports["crowded"] = crowded(json.loads((REPORTS / "full.json").read_text()))
        cls.reports["clipped"] = clipped(json.loads((REPORTS / "full.json").read_text()))
        cls.pages = {}
        for name, report in cls.reports.items():
            source = pathlib.Path(cls.folder.name) / f"{name}.json"
            source.write_text(json.dumps(report))
            subprocess.run([PROGRAM, "report", source], check=True, stdout=subprocess.DEVNULL)
            cls.pages[name] = source.with_suffix(".html")
        cls.opened = {}
        cls.browser = Chromium()
        cls.addClassCleanup(cls.browser.close)

    def open(self, name, width=1280, height=900, dark=False):
        """One page for all tests that look at it in the same way; who changes its window or scheme closes it."""
        key = (name, width, height, dark)
        if key not in self.opened:
            self.opened[key] = self.browser.open(self.pages[name], width, height, dark)
        return self.opened[key]

    def close(self, page):
        for key in [key for key, opened in self.opened.items() if opened is page]:
            del self.opened[key]
        page.close()

    def check(self, page, name, width):
        self.assertEqual(page.complaints(), [])
        self.assertEqual(page.requests(), [self.pages[name].as_uri()])
        marks = page.evaluate(MARKS)
        self.assertEqual(set(marks), FIGURES[name])
        self.assertTrue(all(marks.values()), marks)
        self.assertEqual(page.drawn, len(FIGURES[name]))
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
        # Nothing sticks out of the window either, but for what scrolls inside its own frame.
        self.assertEqual(page.evaluate(
            "[...document.querySelectorAll('main *, header *')].filter((one) => !one.closest('.scroll, svg')"
            f" && one.getBoundingClientRect().right > {width} + 1).map((one) => one.tagName + '.' + one.className)"), [])

    def test_desktop(self):
        for name in self.pages:
            with self.subTest(name):
                self.check(self.open(name, width=1280, dark=False), name, 1280)

    def test_phone(self):
        for name in self.pages:
            with self.subTest(name):
                self.check(self.open(name, width=375, height=740, dark=True), name, 375)

    def test_other_schemes(self):
        self.check(self.open("full", width=1280, dark=True), "full", 1280)
        self.check(self.open("full", width=375, height=740, dark=False), "full", 375)

    def test_resizing(self):
        """Catches charts that keep the width of a window that is no more."""
        page = self.open("full")
        self.addCleanup(self.close, page)
        wide = page.evaluate("document.querySelector('.chart svg').getBoundingClientRect().width")
        page.call("Emulation.setDeviceMetricsOverride", width=375, height=740, deviceScaleFactor=1, mobile=True)
        page.evaluate("new Promise((done) => setTimeout(done, 300))")
        narrow = page.evaluate("document.querySelector('.chart svg').getBoundingClientRect().width")
        self.assertLess(narrow, wide / 2)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 375)

    def test_first_screen(self):
        """Verdict, leakage curve and recommended budget without scrolling."""
        page = self.open("full")
        for selector in ("#verdict", "[data-figure=leakage] svg", ".facts > div:first-child"):
            bottom = page.evaluate(f"document.querySelector('{selector}').getBoundingClientRect().bottom")
            self.assertLess(bottom, 800, selector)
        self.assertEqual(page.evaluate("document.querySelector('.facts .figure').textContent"), "500")
        self.assertEqual(page.evaluate("document.querySelector('#verdict').textContent"), self.reports["full"]["verdict"])

    def test_tooltip(self):
        page = self.open("full")
        self.assertEqual(page.evaluate(TOOLTIP), "")
        x, y = page.evaluate(FIRST_POINT)
        page.move_mouse(x - 3, y)
        page.move_mouse(x, y)
        shown = page.evaluate(f"new Promise((done) => setTimeout(() => done({TOOLTIP}), 200))")
        self.assertIn("after 100 gradients", shown)
        self.assertIn("relative error 32%", shown)
        page.move_mouse(2, 2)
        self.assertEqual(page.evaluate(f"new Promise((done) => setTimeout(() => done({TOOLTIP}), 200))"), "")
        self.assertEqual(page.complaints(), [])

    def test_dark_and_light(self):
        """Catches charts that keep the other scheme's colours, and text too faint to read (WCAG AA: 4.5)."""
        page = self.open("full")
        self.addCleanup(self.close, page)
        light = page.evaluate(COLOURS)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        dark = page.evaluate(COLOURS)
        for name in light:
            self.assertNotEqual(light[name], dark[name], name)
        for scheme in (light, dark):
            for text in ("text", "muted", "axis"):
                self.assertGreater(contrast(scheme[text], scheme["page"]), 4.5, (text, scheme))
            self.assertGreater(contrast(scheme["line"], scheme["page"]), 3, scheme)

    def test_figures_explain_themselves(self):
        """Each figure: a caption, what it does not show, a label, its numbers; each section without data: a reason."""
        page = self.open("full")
        figures = page.evaluate("[...document.querySelectorAll('figure')].map((figure) => ({caption: figure.querySelector('figcaption p').textContent,"
                                " limits: figure.querySelector('.limits').textContent, label: figure.querySelector('.chart').getAttribute('aria-label'),"
                                " rows: figure.closest('section').querySelectorAll('table tbody tr').length}))")
        self.assertEqual(len(figures), len(ALL_FIGURES))
        for figure in figures:
            self.assertGreater(len(figure["caption"]), 60)
            self.assertTrue(figure["limits"].startswith("What this does not show. "), figure)
            self.assertGreater(len(figure["label"]), 20)
            self.assertGreater(figure["rows"], 0)
        reasons = self.open("minimal").evaluate("[...document.querySelectorAll('section > .absent')].map((reason) => reason.textContent)")
        self.assertEqual(len(reasons), len(ALL_FIGURES) - 1 + 1, reasons)  # every figure but the spectrum; and no commands
        self.assertIn("No epsilon is valid here: the noise rule looks at the targets.", reasons)

    def test_crowded_chart_stays_legible(self):
        """Of many attacks the chart tells apart the strongest; every one is in the table and behind the mouse."""
        page = self.open("crowded")
        key = page.evaluate("[...document.querySelectorAll('#attacks figure .key li')].map((entry) => entry.textContent)")
        self.assertEqual(len(key), 8)
        self.assertEqual(key[-1], "other attacks")
        self.assertEqual(page.evaluate("document.querySelectorAll('#attacks table.grid tbody tr').length"), 4 * 7)
        self.assertEqual(page.evaluate("document.querySelectorAll('[data-figure=attacks] svg .mark-line path').length"), 4 * 7)

    def test_findings(self):
        page = self.open("full")
        states = page.evaluate("[...document.querySelectorAll('#findings .entry')].map((card) => [card.querySelector('h3').textContent, card.querySelector('.state').textContent])")
        self.assertEqual(states, [["Support leak", "▲ Found"], ["Large weights", "▲ Found"], ["Row reconstruction", "✓ Not found"],
                                  ["Batch recovery", "✓ Not found"], ["Mis-calibration", "✓ Not found"], ["Differencing", "– Not tested"]])

    def test_print(self):
        for name in ("full", "hostile", "minimal"):
            with self.subTest(name):
                file = pathlib.Path(self.folder.name) / f"{name}.pdf"
                page = self.open(name, dark=True)  # paper stays white
                file.write_bytes(page.pdf())
                information = subprocess.run(["pdfinfo", file], check=True, capture_output=True, text=True).stdout
                pages = int(information.split("Pages:")[1].split()[0])
                self.assertIn("A4", information)
                self.assertGreater(pages, 1)
                self.assertLess(pages, 25)
                text = " ".join(subprocess.run(["pdftotext", file, "-"], check=True, capture_output=True, text=True).stdout.split())
                self.assertIn("What was assumed", text)
                if name != "hostile":
                    self.assertIn(self.reports[name]["verdict"], text)
                self.assertEqual(page.complaints(), [])

    def test_values_are_text(self):
        """Markup in values is shown and does nothing."""
        page = self.open("hostile")
        self.assertNotEqual(page.evaluate("document.title"), "owned")
        self.assertEqual(page.evaluate("document.querySelectorAll('img, iframe, object, embed, link, form:not(.vega-bindings)').length"), 0)
        self.assertEqual(page.evaluate("document.scripts.length"), 8)
        self.assertIn("</script><script>document.title='owned'</script><img src=x onerror=", page.evaluate("document.querySelector('#verdict').textContent"))
        self.assertEqual(page.complaints(), [])

    def test_policy_holds(self):
        """Planted: with markup let through by mistake, the policy still stops it; and this test would see it."""
        planted = pathlib.Path(self.folder.name) / "planted.html"
        extra = "<img src='http://127.0.0.1:9/pixel'><script>document.title = 'owned'</script><p id=styled style='color: red'>x</p></body>"
        planted.write_text(self.pages["full"].read_text().replace("</body>", extra))
        page = self.browser.open(planted)
        self.addCleanup(page.close)
        self.assertNotEqual(page.evaluate("document.title"), "owned")
        complaints = " ".join(page.complaints())
        for directive in ("script-src", "img-src", "style-src"):
            self.assertIn(directive, complaints)
        self.assertRaisesRegex(RuntimeError, "EvalError", page.evaluate, "(() => { return new Function('return 1')(); })()")


if __name__ == "__main__":
    unittest.main()
