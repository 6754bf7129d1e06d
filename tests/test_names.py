"""Names of landmarks: from a competition's own table, and in the report."""

import pytest

from lmk.data.names import label, names_flaw, read_names, title_of
from lmk.predictions import NO_LANDMARK


def test_categories_of_wikimedia_are_read_as_titles(tmp_path):
    table = "landmark_id,category\n7,http://commons.wikimedia.org/wiki/Category:Trevi_Fountain\n9,\n"
    (tmp_path / "train_label_to_category.csv").write_text(table)
    assert read_names(tmp_path) == {7: "Trevi Fountain"}


@pytest.mark.parametrize(
    ("category", "title"),
    [
        ("https://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_d%27If", "Château d'If"),
        ("http://commons.wikimedia.org/wiki/Rialto", "Rialto"),
        ("Palace at Upper Quay", "Palace at Upper Quay"),
    ],
)
def test_a_title_is_what_a_person_reads(category, title):
    assert title_of(category) == title


def test_names_of_ones_own_are_read_where_there_are_no_categories(tmp_path):
    (tmp_path / "landmarks.csv").write_text("landmark_id,photos,name\n4,12,Old Mill\n")
    assert read_names(tmp_path) == {4: "Old Mill"}


def test_a_competition_without_names_has_none(tmp_path):
    assert read_names(tmp_path) == {}


def test_a_damaged_table_of_names_is_named_and_costs_the_names_alone(tmp_path):
    (tmp_path / "train_label_to_category.csv").write_text("<html>sign in</html>")
    assert "train_label_to_category.csv is a web page" in names_flaw(tmp_path)
    assert read_names(tmp_path) == {}


def test_the_id_stands_alone_without_a_name():
    assert label(4, {4: "Old Mill"}) == "4 (Old Mill)"
    assert label(5, {4: "Old Mill"}) == "5"
    assert label(NO_LANDMARK, {}) == ""
