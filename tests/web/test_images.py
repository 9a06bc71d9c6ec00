"""Bytes of pictures: immutable, in ranges, and safe to ask for in any way."""

import httpx
import pytest

from tests.web.conftest import PROMPT, Site, error_of


async def test_a_picture_is_served_for_ever(site: Site) -> None:
    path = await site.picture()
    answer = await site.get(path)
    [data] = [file.read_bytes() for file in site.files() if file.suffix == ".png"]
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["etag"].strip('"') in path


async def test_who_has_a_picture_is_told_so(site: Site) -> None:
    path = await site.picture()
    tag = (await site.get(path)).headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}"):
        answer = await site.get(path, if_none_match=sent)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await site.get(path, if_none_match='"other"')).status_code == 200


async def test_head_tells_the_size_and_sends_nothing(site: Site) -> None:
    path = await site.picture()
    whole = await site.get(path)
    answer = await site.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control", "accept-ranges"):
        assert answer.headers[name] == whole.headers[name], name


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-4", 0, 5),
        ("bytes=5-9", 5, 10),
        ("bytes=7-", 7, None),
        ("bytes=-3", -3, None),
        ("bytes=-99999", 0, None),
        ("bytes=3-99999", 3, None),
    ],
)
async def test_a_range_is_cut_out(site: Site, asked: str, start: int, end: int | None) -> None:
    path = await site.picture()
    whole = (await site.get(path)).content
    answer = await site.get(path, range=asked)
    assert (answer.status_code, answer.content) == (206, whole[start:end])
    first = start if start >= 0 else len(whole) + start
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("asked", ["bytes=9999-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_beyond_the_end_cannot_be_had(site: Site, asked: str) -> None:
    path = await site.picture()
    size = (await site.get(path)).headers["content-length"]
    answer = await site.get(path, range=asked)
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    "asked", ["bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes", "bytes=1"]
)
async def test_what_is_no_range_gives_the_whole(site: Site, asked: str) -> None:
    path = await site.picture()
    whole = await site.get(path)
    answer = await site.get(path, range=asked)
    assert (answer.status_code, answer.content) == (200, whole.content)


async def test_a_range_of_other_bytes_gives_the_whole(site: Site) -> None:
    path = await site.picture()
    tag = (await site.get(path)).headers["etag"]
    assert (await site.get(path, range="bytes=0-1", if_range=tag)).status_code == 206
    assert (await site.get(path, range="bytes=0-1", if_range='"other"')).status_code == 200


@pytest.mark.parametrize(
    "key",
    [
        "x.png",
        "..%2F..%2Fetc%2Fpasswd",
        "store-id",
        "0" * 32,
        f"{'0' * 32}-0-{'0' * 32}.png",
        f"{'0' * 32}-0-{'0' * 32}.gif",
        f"{'0' * 32}-0-{'0' * 32}.png.json",
        f"{'A' * 32}-0-{'0' * 32}.png",
        "%00",
        "x" * 4000,
    ],
)
async def test_an_image_that_is_not_there_is_not_found(site: Site, key: str) -> None:
    answer = await site.get(f"/images/{key}")
    assert answer.status_code == 404
    if "%2F" not in key:
        assert error_of(answer) == (404, "image_not_found", "")
        zh = await site.get(f"/images/{key}", accept_language="zh")
        assert zh.json()["message"] == "图像不存在"


async def test_a_lost_picture_empties_its_slot_so_that_a_post_makes_it_again(site: Site) -> None:
    task = await site.make(n=2)
    lost, kept = (await site.get(task)).json()["data"]
    [file] = [file for file in site.files() if file.name.startswith("0-")]
    file.unlink()
    assert (await site.http.get(lost["url"])).status_code == 404
    assert (await site.get(task)).status_code == 404
    assert (await site.http.get(kept["url"])).status_code == 200
    answer = await site.post(PROMPT | {"n": 2})
    assert (answer.json()["outcome"], answer.json()["toBuy"]) == ("extended", 1)
    await site.work(task, attempt=2)
    assert (await site.http.get(lost["url"])).status_code == 200


@pytest.mark.parametrize(
    ("old", "new"), [("-0-", "-00-"), (".png", ".webp")], ids=["index", "format"]
)
async def test_a_misspelt_key_leaves_the_slot_alone(site: Site, old: str, new: str) -> None:
    task = await site.make()
    url = (await site.get(task)).json()["data"][0]["url"]
    path = httpx.URL(url).path
    assert (await site.get(path.replace(old, new))).status_code == 404
    assert (await site.get(task)).status_code == 200


async def test_the_digest_in_a_key_has_to_be_the_pictures(site: Site) -> None:
    path = await site.picture()
    series, _, rest = path.removeprefix("/images/").partition("-")
    guess = f"/images/{series}-0-{'0' * 32}.png"
    assert rest
    assert error_of(await site.get(guess)) == (404, "image_not_found", "")
    assert (await site.get(path)).status_code == 200
