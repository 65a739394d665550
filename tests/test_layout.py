"""What the names of a set of photos say: classes, and parts of a set that is split already."""

import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from data import layout
from data.photo_folder import read_manifest
from engine.errors import UserError
from tests.conftest import photo, zipped

SOURCE = Path("photos")


def names(*patterns: str, count: int = 2) -> list[str]:
    """Files by patterns: "train/{cat,dog}/*.jpg" -> train/cat/0.jpg, train/cat/1.jpg, …"""
    found = []
    for pattern in patterns:
        before, brace, after = pattern.partition("{")
        if brace:
            choices, _, rest = after.partition("}")
            found += names(*(before + c + rest for c in choices.split(",")), count=count)
        else:
            found += [pattern.replace("*", str(n)) for n in range(count if "*" in pattern else 1)]
    return found


def found(*patterns: str, size: Callable[[str], int] = len) -> Counter:
    """How many files of each part and class there are; None for those in no class."""
    labels, strays = layout.label(names(*patterns), SOURCE, size)
    assert len(labels) + len(strays) == len([n for n in names(*patterns) if n[-1] != "/"])
    counts = Counter((label.part, label.class_name) for label in labels.values())
    return counts + Counter({None: len(strays)})


def parts(**classes: str) -> Counter:
    """Two files each: parts(train="a b", test="a b")."""
    return Counter({(part, name): 2 for part, listed in classes.items() for name in listed.split()})


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["train/{a,b}/*.jpg", "test/{a,b}/*.jpg"], parts(train="a b", test="a b")),
        (["train/{a,b}/*.jpg", "valid/{a,b}/*.jpg", "test/{a,b}/*"], "train val test"),
        (["Training/{a,b}/*.jpg", "Testing/{a,b}/*.jpg"], "train test"),
        (["x/clothing/train/{a,b}/*", "x/clothing/validation/{a,b}/*"], "train val"),
        (["archive/data/TrainData/{a,b}/*", "archive/data/ValData/{a,b}/*"], "train val"),
        (["train_images/{a,b}/*", "dev images/{a,b}/*", "holdout/{a,b}/*"], "train val test"),
        (["train2017/{a,b}/*", "val2017/{a,b}/*"], "train val"),
        (["trainval/{a,b}/*", "test/{a,b}/*"], "train test"),
        (["training_set/training_set/{a,b}/*", "test_set/test_set/{a,b}/*"], "train test"),
        (["train/{a,b}.*.jpg", "test/{a,b}.*.jpg"], "train test"),
        (["train/{a,b}/*.jpg", "test/{a,b}.*.jpg"], "train test"),
        (["{a,b}/train/*.jpg", "{a,b}/Validation/*.jpg", "{a,b}/test/*.jpg"], "train val test"),
        (["train/{a,b}/images/*.jpg", "val/{a,b}/images/*.jpg"], "train val"),
        (["train/{train,b}/*.jpg", "test/{train,b}/*.jpg"], parts(train="train b", test="train b")),
        (["{plants,test}/{a,b}/*.jpg"], "train test"),
        (["{a,b}/*.jpg", "{valid,test}/{a,b}/*.jpg"], "train val test"),
        (["{a,b}/*.jpg", "test/a/*.jpg"], parts(train="a b", test="a")),
    ],
)
def test_a_split_set_is_taken(patterns, expected):
    if isinstance(expected, str):
        expected = parts(**dict.fromkeys(expected.split(), "a b"))
    assert found(*patterns) == expected


def test_what_lies_beside_the_parts_is_left_out():
    seg = [f"seg_{part}/seg_{part}/{{a,b}}/*.jpg" for part in ("train", "test")]
    both = parts(train="a b", test="a b")
    assert found(*seg, "seg_pred/seg_pred/*.jpg", "readme.txt") == both + Counter({None: 3})
    kaggle = found("train/{cat,dog}.*.jpg", "test1/*.jpg", "sampleSubmission.csv")
    assert kaggle == parts(train="cat dog") + Counter({None: 3})
    # tiny-imagenet: a validation set whose classes are in a text file
    tiny = found("t/train/{a,b}/images/*.jpg", "t/val/images/*.jpg", "t/test/images/*.jpg")
    assert tiny == parts(train="a b") + Counter({None: 4})
    # chest_xray.zip and PlantVillage.zip hold the same set once more, a folder further down
    twice = [f"x/{above}{part}/{{a,b}}/*" for above in ("", "x/") for part in ("train", "test")]
    assert found(*twice, size=lambda name: 1) == both + Counter({None: 8})
    assert found("{a,b,x/a,x/b}/*", size=lambda name: 1) == parts(**{"": "a b"}) + Counter(
        {None: 4}
    )
    for other in (
        ("{a,b,x/a,x/b}/*", "{a,b}/*", "x/{a,c}/*"),
        ("{train,test,x/train,x/test}/{a,b}/*",),
    ):
        with pytest.raises(UserError, match=r"'x' holds folders .* other photos.* photos/x"):
            found(*other)
    assert found("train/{a,b}/*", "test/unknown/*") == parts(train="a b") + Counter({None: 2})
    assert found("train/{a,b}/*", "test/") == parts(train="a b")


@pytest.mark.parametrize(
    "patterns",
    [
        ["{plants,plants(augmented),test}/{a,b}/*"],
        ["{train,train_aug,test}/{a,b}/*"],
        ["{a,b}/*", "test/{a,b}/*", "Augmented/{a,b}/*"],
        ["{test,train}/{a,b}/{images,masks}/*"],
        ["{test,train}/{a,b}/{original,augmented}/*"],
        ["train/{raw,augmented}/{a,b}/*", "test/{a,b}/*"],
        ["images/{train,test}/{a,b}/*", "labels/{train,test}/*"],
    ],
)
def test_altered_copies_and_masks_are_left_out(patterns):
    strays = Counter({None: len(names(*patterns)) - 8})
    assert found(*patterns) == parts(train="a b", test="a b") + strays and strays[None] >= 4


def test_validation_and_test_part_may_lack_classes():
    assert found("train/{a,b}/*", "test/a/*") == parts(train="a b", test="a")
    assert found("train/{a,b}/*", "test/a/{x,y}/*")["test", "a"] == 4
    assert found("train/{a,b,c}/*", "val/{a,b}/*", "val/c/") == parts(train="a b c", val="a b")


@pytest.mark.parametrize(
    ("patterns", "classes"),
    [
        (["{cat,dog,test}/*.jpg"], "cat dog test"),
        (["{cat,train}/*.jpg"], "cat train"),
        (["train/{cat,dog}/*.jpg"], "cat dog"),
        (["train/{cat,dog,test}/*.jpg"], "cat dog test"),
        (["photos/{cat,dog}/of 2019/*.jpg"], "cat dog"),
        (["{cat,dog}/{of 2019,of %s}/*.jpg"], None),
        (["cat/{2019,2020}/*.jpg", "dog/{2020,2021}/*.jpg"], None),
        (["cat/{2019,2020}/*.jpg", "dog/{2021,2022}/*.jpg"], "cat dog"),
        (["{steam_train,bullet_train}/*.jpg"], "steam_train bullet_train"),
        (["{crash_test,bullet_train,cat}/*.jpg"], "crash_test bullet_train cat"),
        (["{cat,dog}/{bing,google}.*.jpg"], "cat dog"),
        (["{cv1,cat}/*.jpg"], "cv1 cat"),
        (["cat/{train,old}/*.jpg", "dog/{test1,test2}/*.jpg"], "cat dog"),
        (["{cat,dog}.*.jpg", "notes/readme.txt"], "cat dog"),
        (["{cat,dog}/train/*.jpg"], "cat dog"),
        (["{real,2,augmented_reality_2}/*.jpg"], "real 2 augmented_reality_2"),
    ],
)
def test_class_folders_are_no_parts(patterns, classes):
    if classes is None:
        with pytest.raises(UserError, match="the same folders"):
            found(*patterns)
    else:
        labels = layout.label(names(*patterns), SOURCE, len)[0].values()
        assert {label.part for label in labels} == {""}
        assert {label.class_name for label in labels} == set(classes.split())


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["{fold_0,fold_1,fold_2}/{a,b}/*"], "folds .* split_dataset.py photos/fold_0"),
        (["x/{cv1,cv2}/{train,val}/{a,b}/*"], "folds .* split_dataset.py photos/x/cv1"),
        (["{Fold 1,Fold 2}/{train,val}/*"], "folds .* split_dataset.py 'photos/Fold 1'"),
        (["{k-fold-1,k-fold-2}/{a,b}.*.jpg"], "folds .* photos/k-fold-1"),
        (["train/{fold1,fold2}/{a,b}/*", "test/{fold1,fold2}/{a,b}/*"], "photos/train/fold1"),
        (["{split_0,split_1}/{train,test}/{a,b}/*"], "photos/split_0"),
        (["{fold1,fold2,test}/{a,b}/*"], "folds .* photos/fold1"),
        (["{fold1,fold2}/*"], "folds of one set: name one$"),
        (["{aug,jul}/{a,b}/*"], "the same folders .* photos/aug"),
        (["{cat,dog,augmented cat}/*"], "'augmented cat' seems to hold altered copies of 'cat'"),
        (
            ["{plants,plants(augmented)}/{a,b}/*", "test/*"],
            "test may or may not be a class, .* photos/plants;",
        ),
        (["images/{a,b}/*", "{parts,attributes}/*"], "'images' holds folders.* photos/images;"),
        (["CUB/{images/a,images/b,parts}/*", "segm/{a,b}/*"], "'CUB' holds folders.* photos/CUB;"),
        (["{images,masks}/*"], "only one class, 'images'"),
        (["{train,valid}/{images,labels}/*"], "hold no class folders"),
        (["birds/train/{a,b}/*", "cats/train/{x,y}/*"], "'birds' is not a class.* photos/birds$"),
        (["A/{cat,dog}/*", "B/{cat,bird}/*"], "the same folders .* photos/A;"),
        (["{train,test}/{a,b,x/a,x/b}/*"], "same folders .*such as x.* photos/train/x;"),
        (["{crash_test,bullet}/{front,side}/*"], "crash_test looks like a part .* photos/bullet"),
        (["{a,b,test/a,test/b}/{x,y}/*"], "a, b may .* photos/a"),
        (["a/{train,test}/*", "b/*"], "'a' holds test, train: .* in every class folder"),
        (["{a,b}/*", "a/b/*"], r"same folders \(b\) .*such as a.* the classes;"),
        (["cat/{2019,2020}/*", "dog/*"], "dog may or may not be a class, .* photos/cat;"),
        (["{valid,invalid}/{a,b}/*"], "invalid may"),
        (
            ["simpsons/{a,b}/*", "simpsons_testset/*"],
            "simpsons_testset may or may not be .* photos/simpsons;",
        ),
        (["HAM_images_part_{1,2}/*"], "not names of classes"),
        (["data/{train,test}/{a,b}/*", "docs/*.png"], "'data' is not a class.* photos/data"),
        (["train/{a,b}/*", "sample/*"], "sample may .* photos/train"),
        (["{a,b}/*", "test/{a,c}/*"], "a, b may .* holds the classes$"),
        (["train/{a,b}/*", "test/{a,b}/*", "extra/{a,b}/*"], "extra may"),
        (["{train,test}/{real,fake}/*", "real/*"], "real may"),
        (["{train,train2,test}/{a,b}/*"], "train, train2 are all .*photos/train"),
        (["{val,test}/{a,b}/*"], "no train part"),
        (["train/*", "test/{a,b}/*"], "no train part"),
        (["{train,test}/*.jpg"], "test, train .*hold no class folders"),
        (["{train,test,masks}/*.jpg"], "test, train are parts of a split set"),
        (["seg_train/*.jpg", "seg_test/seg_test/*.jpg"], "hold no class folders"),
        (["{train,test}/cat/*.jpg"], "hold no class folders"),
        (["train/{a,b}/*", "test/{a,b,c}/*"], "c in test but not in train"),
        (["train/{a,b}/*", "train/c/", "test/{a,b,c}/*"], "its class folder 'c' has no files"),
        (["train/{Cat,Dog}/*", "test/{cat,dog}/*"], "classes 'Cat' and 'cat' apart"),
        (["{Cat,cat,dog}/*"], "cannot tell its classes 'Cat' and 'cat' apart"),
        (["{Cat,cat,dog}.*.jpg"], "cannot tell its classes 'Cat' and 'cat' apart"),
        (["{Cat,Cat.,Dog}/*"], "cannot tell its classes"),
        (["{STRASSE,straße}/*"], "cannot tell its classes"),
    ],
)
def test_what_is_ambiguous_is_refused_with_advice(patterns, words):
    with pytest.raises(UserError, match=words) as error:
        found(*patterns)
    assert "\n" not in str(error.value)


def test_one_name_in_two_spellings_is_one_class(split, tmp_path):
    spellings = [unicodedata.normalize(form, "Café") for form in ("NFC", "NFD")]
    for start, folder in enumerate([*spellings, "Dog"]):
        for number in range(10):
            path = tmp_path / "photos" / folder / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(1000 * start + number))
    folder = split(tmp_path / "photos")
    manifest = read_manifest(folder)
    assert manifest["class"].value_counts().to_dict() == {spellings[0]: 20, "Dog": 10}
    assert manifest["sha256"].nunique() == 30
    zipped(tmp_path / "photos", tmp_path / "photos.zip")
    assert (split(tmp_path / "photos.zip", folder="z") / "manifest.csv").read_bytes() == (
        folder / "manifest.csv"
    ).read_bytes()
    # The test part may spell it in the other way.
    labels, _ = layout.label(
        names(f"train/{{{spellings[0]},b}}/*", f"test/{{{spellings[1]},b}}/*"), SOURCE, len
    )
    assert {label.class_name for label in labels.values()} == {spellings[0], "b"}
