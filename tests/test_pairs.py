import pytest

from polypseg.data.pairs import Pair, find_pairs
from polypseg.data.verify import verify
from polypseg.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def refused(root):
    with pytest.raises(ValueError) as caught:
        find_pairs(root)
    message = str(caught.value)
    assert message.startswith("expected ") and "got " in message
    assert "\n" not in message and str(root) in message
    return message


@pytest.mark.parametrize(
    "images, masks",
    [("images", "masks"), ("image", "mask"), ("Original", "Ground Truth"), ("IMAGES", "Masks")],
)
def test_pairs_have_equal_stems_and_are_sorted_by_them(tmp_path, images, masks):
    touch(tmp_path, f"{images}/10.jpg", f"{images}/9.tif", f"{images}/b.c.PNG")
    touch(tmp_path, f"{masks}/b.c.png", f"{masks}/9.bmp", f"{masks}/10.webp")
    pairs, orphans = find_pairs(str(tmp_path))
    assert pairs == [
        Pair("10", tmp_path / images / "10.jpg", tmp_path / masks / "10.webp"),
        Pair("9", tmp_path / images / "9.tif", tmp_path / masks / "9.bmp"),
        Pair("b.c", tmp_path / images / "b.c.PNG", tmp_path / masks / "b.c.png"),
    ]
    assert orphans == []


def test_orphans_of_both_sides_are_told(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/z.jpg", "images/b.jpg")
    touch(tmp_path, "masks/b.png", "masks/c.png")
    pairs, orphans = find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["b"]
    assert orphans == [tmp_path / name for name in ("images/a.jpg", "images/z.jpg", "masks/c.png")]


def test_hidden_files_are_not_looked_at_and_others_are_told(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/.b.jpg", "images/._a.jpg", "images/Thumbs.db")
    touch(tmp_path, "images/b.HEIC", "masks/b.png", "images/.old/c.jpg")
    touch(tmp_path, "masks/a.png", "masks/a.txt", "masks/.DS_Store", "masks/old/a.png", "a.csv")
    pairs, orphans = find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["a"]
    left_out = ("images/b.HEIC", "masks/a.txt", "masks/b.png", "masks/old")
    assert orphans == [tmp_path / name for name in left_out]


def test_subfolders_are_read_if_asked_for(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/p1/a.jpg", "images/p1/x/b.png", "images/p2/a.jpg")
    touch(tmp_path, "masks/a.png", "masks/p1/a.png", "masks/p1/x/b.png", "masks/p2/c.png")
    touch(tmp_path, "images/p1/.hidden/a.jpg", "masks/p1/notes.txt")
    pairs, orphans = find_pairs(tmp_path, recursive=True)
    assert [pair.stem for pair in pairs] == ["a", "p1/a", "p1/x/b"]
    assert pairs[2].mask == tmp_path / "masks/p1/x/b.png"
    left_out = ("images/p2/a.jpg", "masks/p1/notes.txt", "masks/p2/c.png")
    assert orphans == [tmp_path / name for name in left_out]
    touch(tmp_path, "images/p1/a.png")
    with pytest.raises(ValueError, match="one file per stem, got a.jpg and a.png in .*/images/p1"):
        find_pairs(tmp_path, recursive=True)


def test_links_to_folders_are_not_followed_and_are_told(tmp_path):
    touch(tmp_path, "images/p1/a.jpg", "masks/p1/a.png")
    (tmp_path / "images" / "p1" / "round").symlink_to("..")
    (tmp_path / "masks" / "p2").symlink_to(tmp_path / "masks" / "p1")
    pairs, orphans = find_pairs(tmp_path, recursive=True)
    assert [pair.stem for pair in pairs] == ["p1/a"]
    assert orphans == [tmp_path / "images/p1/round", tmp_path / "masks/p2"]
    kinds = {p.message for p in verify(pairs, orphans).warnings}
    assert kinds == {"link to a folder, which is not followed"}


def test_a_wrong_root_is_told(tmp_path):
    assert "got nothing" in refused(tmp_path / "none")
    touch(tmp_path, "list.txt")
    assert "got a file" in refused(tmp_path / "list.txt")


def test_missing_folders_are_told_with_those_that_are_there(tmp_path):
    assert "got no folders" in refused(tmp_path)
    touch(tmp_path, "images/a.jpg", "labels/a.png")
    assert "got images, labels" in refused(tmp_path)
    touch(tmp_path, "mask/a.png")  # images and mask are two spellings
    assert "got images, labels, mask" in refused(tmp_path)


def test_no_common_stem_is_told_with_examples(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a_mask.png")
    message = refused(tmp_path)
    assert "2 file(s) (a.jpg, ...)" in message and "1 file(s) (a_mask.png, ...)" in message


def test_a_stem_twice_in_a_folder_is_told(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/a.png", "masks/a.png")
    assert "a.jpg and a.png" in refused(tmp_path)


def test_masks_with_a_suffix_are_matched_if_it_is_given_and_else_it_is_hinted(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/a1.jpg", "images/b_mask.jpg")
    touch(tmp_path, "masks/a_mask.png", "masks/a1_mask.png", "masks/b_mask_mask.png")
    assert refused(tmp_path).endswith("; `mask_suffix` _mask would match them")
    pairs, orphans = find_pairs(tmp_path, mask_suffix="_mask")
    assert [(pair.stem, pair.mask.name) for pair in pairs] == [
        ("a", "a_mask.png"),
        ("a1", "a1_mask.png"),
        ("b_mask", "b_mask_mask.png"),
    ]
    assert orphans == []
    touch(tmp_path, "masks/a1.png")
    assert find_pairs(tmp_path, mask_suffix="_mask")[1] == [tmp_path / "masks" / "a1.png"]
    assert "mask_suffix" not in refused_of(tmp_path / "other")


@pytest.mark.parametrize(
    "masks, suffix, example",
    [
        ("a_mask a_mask_1 b_mask", "_mask", "a_mask.png and a_mask_1.png for a.jpg"),
        ("a_mask a_mask_1 a_mask_2 b_mask", "", "a_mask.png and a_mask_1.png for a.jpg"),
        ("a a1 b", "", "a.png and a1.png for a.jpg"),
        ("a a-2 b", "", "a.png and a-2.png for a.jpg"),
        ("a b|b (1)", "", "b.png and b (1).png for b.jpg"),
        ("a_mask b_mask b_mask2", "_mask", "b_mask.png and b_mask2.png for b.jpg"),
        ("a_EX a_HE b_EX", "", "a_EX.png and a_HE.png for a.jpg"),
        ("a/1 a/2 b/1", "", "1.png and 2.png for a.jpg"),
        ("b_1 cafe\u0301 caf\u00e9_1", "", "cafe\u0301.png and caf\u00e9_1.png for caf\u00e9.jpg"),
    ],
)
def test_several_masks_of_an_image_are_refused(tmp_path, masks, suffix, example):
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "images/caf\u00e9.jpg")
    for group in masks.split("|"):
        names = [group] if "(" in group else group.split()
        touch(tmp_path, *(f"masks/{name}.png" for name in names))
    with pytest.raises(InputError) as caught:
        find_pairs(tmp_path, recursive=True, mask_suffix=suffix)
    message = str(caught.value)
    assert message.startswith("expected one mask per image, got several for 1 of 3 images, such as")
    assert f"{example}; join them" in message
    assert ("a `mask_suffix` that" in message) == (masks in ("a_EX a_HE b_EX", "a/1 a/2 b/1"))


@pytest.mark.parametrize(
    "images, masks, suffix",
    [
        ("1 2 10", "1 10 100 2 11", ""),  # numbers
        ("a b", "a ab b", ""),
        ("a a_1", "a a_1 a_2", ""),  # the image a_2 is missing
        ("a a_1", "a a_1 a_mask", ""),
        ("a b", "a_mask b_mask a_edge", "_mask"),
        ("a a_mask", "a_mask a_mask_mask", "_mask"),
    ],
)
def test_masks_of_other_images_are_not_taken_for_a_second_one(tmp_path, images, masks, suffix):
    touch(tmp_path, *(f"images/{stem}.jpg" for stem in images.split()))
    touch(tmp_path, *(f"masks/{stem}.png" for stem in masks.split()))
    pairs, _ = find_pairs(tmp_path, mask_suffix=suffix)
    assert [pair.stem for pair in pairs] == sorted(images.split())


def refused_of(root):
    touch(root, "images/a.jpg", "masks/b.png")
    return refused(root)


def test_composed_and_decomposed_names_are_a_pair(tmp_path):
    """As in archives that were packed on another system."""
    touch(tmp_path, "images/caf\u00e9.jpg", "images/b.jpg", "masks/cafe\u0301.png", "masks/b.png")
    pairs, orphans = find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["b", "caf\u00e9"] and orphans == []
    touch(tmp_path, "images/cafe\u0301.jpg")
    pairs, orphans = find_pairs(tmp_path)
    assert len(pairs) == 2 and len(orphans) == 1
