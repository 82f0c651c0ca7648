"""Test the command line of a record: it gives the same record again."""

import shlex

from command_line import record, save_inputs

from artgen.spec.record_command import record_command

COMMANDS = (
    ("txt2img", 'a "red" fox\'s $HOME\nin `snow`', "--seed", "7", "--steps", "5", "-n", "-blurry", "-m", "tiny"),
    ("txt2img", "--prompt=-v of a fox", "--seed", "18446744073709551615", "--size", "64x128", "--seamless", "x"),
    ("img2img", "in.png", "a fox", "--strength", "0.4", "--max-side", "32", "-m", "tiny"),
    ("inpaint", "in.png", "a fox", "--mask", "mask.png", "--invert-mask", "--fill", "noise", "-m", "tiny"),
    ("outpaint", "in.png", "a fox", "--expand", "left=16", "-m", "tiny"),
    ("denoise", "in.png", "--method", "tv", "--sigma", "20"),
    ("upscale", "in.png", "--by", "2"),
)


def test_the_command_of_a_record_gives_the_same_record() -> None:
    save_inputs()
    for each in COMMANDS:
        original = record(*each)
        tool, *words = shlex.split(record_command(original))
        assert tool == "artgen"
        assert record(*words) == original, words
    lora = record_command({"task": "txt2img", "prompt": "x", "lora": ["s.safetensors:0.5", "-t.safetensors:1"]})
    assert record_command({"task": "txt2img", "prompt": "x\x15rm -rf ~\n"}) == ""
    assert lora == "artgen txt2img x --lora s.safetensors:0.5 --lora=-t.safetensors:1"
    assert record_command({"task": "unknown", "prompt": "x"}) == record_command({"task": ["txt2img"]}) == ""
