"""Draw parts of a run's report, as a browser shows them, into docs/images.

    python docs/draw_report.py --workspace workspace

takes the newest run there; it needs Chromium.
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
LARGE, COLOURS = 250_000, 256
"""A picture of more bytes gets as many colours; thin lines may lose theirs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args()
    runs = sorted((options.workspace / "runs").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, scheme, parts in (
            ("report", "light", ("body > header", "section:has(#stages)", "section:has(#ranking)")),
            ("report-mistakes", "dark", ("section:has(#mistakes) .card:nth-child(-n+4)",)),
        ):
            page = browser.new_page(viewport={"width": 1240, "height": 900}, color_scheme=scheme)
            page.goto(runs[-1].resolve().as_uri())
            page.evaluate("[...document.images].forEach((image) => { image.loading = 'eager'; })")
            page.wait_for_timeout(300)
            save(page, parts, IMAGES / f"{name}.png")
        browser.close()


def save(page: Page, parts: tuple[str, ...], path: Path) -> None:
    """The box that holds all `parts`."""
    boxes = [found.bounding_box() for part in parts for found in page.locator(part).all()]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    right, bottom = (max(box[a] + box[b] for box in boxes) for a, b in (("x", "width"), ("y", "height")))
    clip = {"x": max(left - 12, 0), "y": max(top - 12, 0), "width": right - left + 24, "height": bottom - top + 24}
    page.screenshot(path=path, full_page=True, clip=clip)
    shrink(path)


def shrink(path: Path) -> None:
    """Fewer colours where the picture is large."""
    picture = Image.open(path).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGE:
        picture.quantize(COLOURS).save(path, optimize=True)
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
