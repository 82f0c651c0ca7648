"""Test the layout of contact sheets."""

import time

from artgen.images.contact_sheet import MAX_LABEL_CHARS, Cell, ContactSheet, render_sheet


def test_label_of_any_length_is_drawn_in_bounded_time() -> None:
    start = time.process_time()
    label = "a word " * 2**17
    sheet = render_sheet(ContactSheet([[Cell(None, label)]], title=label), cell_px=256)
    assert sheet.height < 20 * MAX_LABEL_CHARS
    assert time.process_time() - start < 10
