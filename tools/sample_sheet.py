"""Draw docs/sample.jpg, portraits of the sample as they are today: `make docs`."""

from pathlib import Path

from deepfake import params
from deepfake.common.errors import command
from deepfake.common.files import replacing
from deepfake.sources.portraits.render import contact_sheet

SHEET = Path("docs/sample.jpg")
ROWS, COLUMNS = 2, 8
QUALITY = 88


@command
def main() -> None:
    sheet = contact_sheet(ROWS, COLUMNS, seed=params.load().seed)
    with replacing(SHEET) as partial:
        sheet.save(partial, "JPEG", quality=QUALITY)
    print(f"wrote {SHEET}")


if __name__ == "__main__":
    main()
