"""The leaderboard and the trust in dev, by hand-made boards."""

import io
import zipfile
from dataclasses import replace

import pytest
from rich.console import Console

from lmk.cli.kaggle_views import leaderboard_table, submissions_table, trust_view, trust_words
from lmk.kaggle.leaderboard import compare, load_board, medal_lines, medal_ranks, read_board, save_board
from lmk.kaggle.records import Record
from lmk.kaggle.trust import draw_png, scatter, trust
from lmk.util.errors import LmkError, RemoteError

HEADER = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames"


def archive_of(*rows: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        bundle.writestr("board.csv", "\ufeff" + "\n".join([HEADER, *rows]))
    return packed.getvalue()


ROWS = [f"{rank},{rank},team {rank},2026-01-02T03:04:05Z,{0.9 - rank / 100:.3f},4,user{rank}" for rank in range(1, 31)]


def test_our_row_is_found_by_a_members_name_or_by_the_teams():
    assert [team.rank for team in read_board(archive_of(*ROWS), "user7") if team.ours] == [7]
    assert [team.rank for team in read_board(archive_of(*ROWS), "nobody", "team 9") if team.ours] == [9]
    shared = '1,1,"two, of us",2026-01-02T03:04:05Z,0.5,4,"me, you"'
    assert read_board(archive_of(shared), "you")[0].ours
    assert not any(team.ours for team in read_board(archive_of(*ROWS), "", ""))


@pytest.mark.parametrize(
    ("teams", "gold", "silver", "bronze"),
    [
        (9, 0, 1, 3),
        (30, 3, 6, 12),
        (99, 9, 19, 39),
        (100, 10, 20, 40),
        (249, 10, 49, 99),
        (250, 10, 50, 100),
        (500, 11, 50, 100),
        (999, 11, 50, 100),
        (1000, 12, 50, 100),
        (3000, 16, 150, 300),
    ],
)
def test_medals_go_to_as_many_as_kaggle_says(teams, gold, silver, bronze):
    assert medal_ranks(teams) == {"gold": gold, "silver": silver, "bronze": bronze}


def test_a_medal_line_is_the_score_of_its_last_rank_and_absent_without_one():
    board = read_board(archive_of(*ROWS), "")
    assert medal_lines(board) == {"gold": 0.87, "silver": 0.84, "bronze": 0.78}
    assert "gold" not in medal_lines(board[:9])


def test_moves_are_told_since_the_board_was_last_seen(tmp_path):
    before = read_board(archive_of(*ROWS), "user7")
    assert compare(before, load_board(tmp_path / "seen.json")) == before
    save_board(tmp_path / "seen.json", before)
    new = "1,99,newcomer,2026-01-03T03:04:05Z,0.95,1,user99"
    better = ROWS[6].replace("7,7,team 7", "2,7,team 7").replace("0.830", "0.930")
    after = read_board(archive_of(new, better, *ROWS[:6], *ROWS[7:]), "user7")
    told = {
        team.name: (team.moved, round(team.gained, 5)) for team in compare(after, load_board(tmp_path / "seen.json"))
    }
    assert told["newcomer"] == (None, 0.0)
    assert told["team 7"] == (5, 0.1)
    assert told["team 1"] == (-2, 0.0)
    assert told["team 30"] == (-1, 0.0)


@pytest.mark.parametrize("content", [b"<html>", archive_of("x"), archive_of("1,1,a,b,not a score,1,u")])
def test_a_board_that_cannot_be_read_is_kaggles_fault(content):
    with pytest.raises(RemoteError, match="cannot be read"):
        read_board(content, "")


def test_a_damaged_memory_of_the_board_is_named(tmp_path):
    (tmp_path / "seen.json").write_text("{")
    with pytest.raises(LmkError, match=r"seen\.json cannot be read"):
        load_board(tmp_path / "seen.json")


def test_trust_counts_the_pairs_that_dev_ranks_as_the_board_does():
    found = trust([0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4])
    # Ranks 1 2 3 4 against 1 3 2 4: rho = 1 - 6 (0 + 1 + 1 + 0) / (4 * 15) = 0.8; five pairs of six agree.
    assert (found.pairs, found.agreeing) == (6, 5)
    assert found.rank_correlation == pytest.approx(0.8)
    assert found.bias == pytest.approx(0.0)


def test_trust_says_nothing_where_there_is_nothing_to_compare():
    assert trust([0.5], [0.4]).rank_correlation is None
    assert trust([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]).rank_correlation is None
    assert trust([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]).pairs == 0


def test_the_plot_places_submissions_by_both_scores_and_counts_those_that_share_a_place():
    lines = scatter([0.2, 0.8, 0.8], [0.2, 0.8, 0.8], width=31, height=11)
    rows = [line.split("┤")[1] for line in lines if "┤" in line]
    low = next(number for number, row in enumerate(rows) if "●" in row)
    high = next(number for number, row in enumerate(rows) if "2" in row)
    assert high < low  # the better one stands higher
    assert rows[low].index("●") < rows[high].index("2")
    assert "dev GAP" in lines[-1]


def test_the_plot_is_drawn_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    draw_png(tmp_path / "scores.png", [0.1, 0.2], [0.1, 0.3], "tiny")
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")


def record(number: int, public: float | None, **values) -> Record:
    return Record(
        competition="landmark-recognition-2020",
        message="two networks, retrieval and verification by local features",
        file="landmark-recognition-2020-3f2a9c1b4d5e.csv",
        size=1,
        digest=f"{number}" * 64,
        sent=f"2026-11-2{number}T20:15:00Z",
        ref=number,
        public=public,
        dev={"gap": 0.9 + number / 100, "low": 0.88, "high": 0.95},
        stage="fused",
        models=["mobilenetv2-gem", "mobilenet-gem"],
        parents=["mobilenetv2-gem-1", "retrieval-2"],
        **values,
    )


def printed(view, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(view)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit_the_terminal_and_lose_no_number(width):
    records = [record(1, 0.71234, status="complete"), record(2, None, status="pending")]
    board = read_board(archive_of(*ROWS), "user20")
    for view, facts in (
        (submissions_table(records, [], width), ["0.71234", "0.91000", "pending", "complete", "fused:"]),
        (
            leaderboard_table(board, 5, width, "a title"),
            ["← us", "0.700", "…", "silver to rank    6: 0.84000  0.14000 away"],
        ),
        (
            trust_view(records[:1], trust([0.91], [0.71234]), scatter([0.91], [0.71234]), "slug", width),
            ["0.91000", "●"],
        ),
    ):
        lines = printed(view, width)
        assert max(len(line) for line in lines) <= width
        for fact in facts:
            assert any(fact in line for line in lines), fact


def test_a_narrow_terminal_breaks_no_name_of_a_file_and_shows_whole_dates():
    named = replace(record(1, 0.71234), file="rendered-landmarks-701f0d6278e1.csv")
    for view in (
        submissions_table([named], [], 80),
        trust_view([named], trust([0.91], [0.71234]), scatter([0.91], [0.71234]), "slug", 80),
    ):
        text = "\n".join(printed(view, 80))
        assert named.file in text
        assert "2026-11-21 20:15" in text


def test_a_board_without_us_says_how_to_be_on_it():
    lines = printed(leaderboard_table(read_board(archive_of(*ROWS), ""), 5, 80, "a title"), 80)
    assert lines[-1] == "We are not on the board yet: `lmk submit` puts us there."


def test_trust_is_said_in_words_with_its_limits():
    assert trust_words(trust([0.5], [0.4])).startswith("1 scored submission: too few")
    words = trust_words(trust([0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4]))
    assert "5 of 6 pairs" in words
    assert "+0.80 over 4" in words
    assert words.endswith("Under five submissions this says little.")


def packed_as(content: bytes, name: str = "board.csv", **options) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **options) as bundle:
        bundle.writestr(name, content)
    return packed.getvalue()


BENCHMARKS = [
    "1,101,Alpha,2026-09-25 00:00:57,0.60000,50,alpha",
    "0,900,host baseline,2026-09-08 23:47:33,0.55000,1,host",
    '2,102,"Beta, Inc",2026-09-26 10:00:00,0.53000,7,beta',
    "3,13,ours,2026-09-26 03:04:05,0.51000,3,me",
    "4,14,twin,2026-09-26 03:04:05,0.50000,1,d",
    "5,15,twin,2026-09-26 03:04:05,0.49000,1,e",
    "6,16,no score yet,2026-09-26 03:04:05,,0,f",
]


def test_benchmarks_of_the_hosts_and_teams_without_a_score_take_no_rank():
    board = read_board(archive_of(*BENCHMARKS), "me")
    assert [(team.rank, team.name) for team in board] == [
        (1, "Alpha"),
        (2, "Beta, Inc"),
        (3, "ours"),
        (4, "twin"),
        (5, "twin"),
    ]
    assert [team.rank for team in board if team.ours] == [3]


def test_teams_of_one_name_are_told_apart(tmp_path):
    board = read_board(archive_of(*BENCHMARKS), "me")
    save_board(tmp_path / "seen.json", board)
    again = compare(board, load_board(tmp_path / "seen.json"))
    assert [(team.moved, team.gained) for team in again] == [(0, 0.0)] * 5


def test_a_board_that_was_remembered_without_numbers_of_teams_is_still_read(tmp_path):
    (tmp_path / "seen.json").write_text('[{"rank": 2, "name": "a", "score": 0.5, "submissions": 1, "date": ""}]')
    (old,) = load_board(tmp_path / "seen.json")
    assert old.identity == "a"


def encrypted() -> bytes:
    content = bytearray(packed_as(b"x"))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.find(mark) + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    return bytes(content)


def of_method(method: int) -> bytes:
    content = bytearray(packed_as(b"x" * 100))
    content[content.find(b"PK\x03\x04") + 8] = content[content.find(b"PK\x01\x02") + 10] = method
    return bytes(content)


TABLE = "\n".join([HEADER, *ROWS]).encode()
DEFLATED = packed_as(TABLE, compression=zipfile.ZIP_DEFLATED)
BAD_BOARDS = {
    "empty": b"",
    "cut": DEFLATED[: len(DEFLATED) // 2],
    "flipped": DEFLATED[:60] + bytes([DEFLATED[60] ^ 255]) + DEFLATED[61:],
    "no table": packed_as(b"", "board.txt"),
    "encrypted": encrypted(),
    "unknown packing": of_method(99),
    "imploded": of_method(6),
    "lzma that is none": of_method(14),
    "not UTF-8": packed_as(TABLE + "\n31,31,é,2026-01-02T03:04:05Z,0.1,4,u".encode("latin-1")),
    "bomb": packed_as(bytes(300_000_000), compression=zipfile.ZIP_DEFLATED),
    "another table": packed_as(b"id,landmarks\na,1 0.5\n"),
    "no header": packed_as("\n".join(ROWS).encode()),
    "semicolons": packed_as(TABLE.replace(b",", b";")),
    "no text": packed_as(b""),
    "stray quote": packed_as(TABLE.replace(b"team 7", b'"team 7')),
    "short row": packed_as(HEADER.encode() + b"\n1,1,a"),
    "long cell": packed_as(HEADER.encode() + b"\n1,1," + b"x" * 200_000 + b",2026-01-02T03:04:05Z,0.5,4,u"),
    "no number": packed_as(HEADER.encode() + b"\n1,1,a,2026-01-02T03:04:05Z,nan,4,u"),
}


@pytest.mark.parametrize("kind", BAD_BOARDS)
def test_a_board_that_is_damaged_in_any_way_is_one_line(kind):
    with pytest.raises(RemoteError, match="cannot be read") as failure:
        read_board(BAD_BOARDS[kind], "")
    assert len(str(failure.value)) < 300


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"rank": "x"}]', "null", "[" * 100_000])
def test_a_damaged_memory_of_the_board_is_named_whatever_it_holds(tmp_path, text):
    (tmp_path / "seen.json").write_text(text)
    with pytest.raises(LmkError, match=r"seen\.json cannot be read"):
        load_board(tmp_path / "seen.json")


NAMES = [
    "[/]x",
    "[ods.ai] five",
    ":rocket: moon",
    "[link=http://evil/]click",
    "\x1b]0;owned\x07",
    "\u202eevil",
    "N" * 2000,
]


@pytest.mark.parametrize("width", [80, 140])
def test_names_of_others_are_printed_as_they_are_written_and_move_nothing(width):
    rows = [f'{n},{n},"{name}",2026-01-02T03:04:05Z,0.{9 - n},4,u{n}' for n, name in enumerate(NAMES, 1)]
    board = read_board(archive_of(*rows), "u2")
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(leaderboard_table(board, 10, width, "[/]title"))
    named = replace(record(1, 0.5), file="sub[2].csv", message="[/]two \x1b[31mlines")
    console.print(submissions_table([named], [], width))
    printed = console.file.getvalue()
    for name in ("[/]x", "[ods.ai] five", ":rocket: moon", "[link=http://evil/]click", "sub[2].csv", "[/]two"):
        assert name in printed
    assert not [escape for escape in ("\x1b", "\x07", "\u202e") if escape in printed]
    assert printed.count("N") < 200
