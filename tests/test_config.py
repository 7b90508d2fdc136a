"""Configuration: errors name file, line, key and the nearest name; the reference is current."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.config import Config, Frozen, conf_folder, load_config, parse_bytes, to_yaml
from distcnn.config.describe import describe
from distcnn.config.resources import Follows
from distcnn.config.secrets import holds_secret
from distcnn.config.train import StudentNetwork
from distcnn.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        path = tmp_path / "my.yaml"
        path.write_text(text)
        return path

    return _write


def message(path=None, sets=()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    return str(caught.value)


def models(model: type[Frozen] = Config) -> set[type[Frozen]]:
    found = {model}
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Frozen):
                found |= models(part)
    return found


def test_no_file_means_the_defaults():
    assert load_config() == Config()


def test_a_file_changes_what_it_names_and_nothing_else(write):
    config = load_config(write("train:\n  members: 3\n  network:\n    width: 16\n"))
    assert (config.train.members, config.train.network.width) == (3, 16)
    assert config.train.network.hidden == Config().train.network.hidden
    assert config.predict == Config().predict


def test_an_empty_file_means_the_defaults(write):
    assert load_config(write("# nothing\n")) == Config()


def test_an_unknown_key_names_file_line_and_nearest_name(write):
    path = write("train:\n  members: 3\n  epoch: 5\n")
    text = message(path)
    assert f"{path}, line 3" in text
    assert "unknown key 'train.epoch'" in text
    assert "Did you mean 'epochs'?" in text


def test_an_unknown_section_names_the_nearest_one(write):
    assert "Did you mean 'predict'?" in message(write("\npredikt:\n  batch: 1\n"))
    assert "line 2" in message(write("\npredikt:\n  batch: 1\n"))


def test_an_unknown_key_like_no_other_lists_what_is_known(write):
    text = message(write("cluster:\n  zzzz: 1\n"))
    assert "Known here:" in text
    assert "in_flight" in text


def test_a_key_in_an_optional_section_or_a_list_is_found_too(write):
    text = message(write("ingest:\n  prepare:\n    target:\n      stat: 846.0\n"))
    assert "line 4" in text
    assert "Did you mean 'start'?" in text
    cuts = "ingest:\n  labels:\n    reader: apogee\n    files: a\n    cuts:\n      - colum: SNR\n"
    text = message(write(cuts))
    assert "ingest.labels.cuts.0.colum" in text
    assert "line 6" in text


def test_a_key_that_is_missing_names_the_line_of_its_section(write):
    text = message(write("ingest:\n  xp:\n    reader: gaia_xp\n"))
    assert "line 2" in text
    assert "ingest.xp.files" in text
    assert "ingest.xp.files is missing: expected it beside reader" in text


def test_a_value_out_of_range_names_line_value_and_range(write):
    text = message(write("train:\n\n  members: 0\n"))
    assert "line 3" in text
    assert "train.members = 0" in text
    assert "greater than or equal to 1" in text


def test_a_value_of_the_wrong_type_is_refused(write):
    assert "train.members = 'many'" in message(write("train:\n  members: many\n"))
    assert "train" in message(write("train: 5\n"))


def test_several_errors_are_counted(write):
    assert "(1 more)" in message(write("train:\n  members: 0\n  batch: 0\n"))


def test_a_file_that_is_not_yaml_says_where(write):
    text = message(write("train: [1, 2\n"))
    assert "not readable as YAML" in text
    assert "line 2" in text


def test_a_file_that_holds_no_sections_is_refused(write):
    assert "expected sections of keys" in message(write("- 1\n- 2\n"))


def test_a_missing_file_lists_those_that_come_with_us():
    text = message(Path("nowhere.yaml"))
    assert "'nowhere.yaml'" in text
    assert "demo" in text


def test_a_configuration_that_comes_with_us_is_found_by_its_name():
    assert load_config(Path("demo")) == load_config(conf_folder() / "demo.yaml")


@pytest.mark.parametrize("path", sorted(conf_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_comes_with_us_can_be_read(path):
    load_config(path)


def test_set_overrides_the_file_which_overrides_the_default(write):
    path = write("train:\n  members: 3\n  epochs: 4\n")
    config = load_config(path, ["train.members=5", "cluster.dashboard=null"])
    assert (config.train.members, config.train.epochs) == (5, 4)
    assert config.cluster.dashboard is None


def test_the_last_of_two_sets_counts():
    assert load_config(None, ["train.members=5", "train.members=6"]).train.members == 6


def test_set_takes_lists_and_texts_as_yaml_does():
    config = load_config(None, ["quality.snr_edges=[10, 20]", "ingest.prepare.trim=[5, 5]"])
    assert config.quality.snr_edges == (10.0, 20.0)
    assert config.ingest.prepare.trim == (5, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.members", "has no '='"),
        ("train.member=3", "Did you mean 'members'?"),
        ("train.members.more=3", "train.members = {'more': 3}"),
        ("train.members=[", "not readable as YAML"),
        ("train.members=0", "train.members = 0"),
    ],
)
def test_a_wrong_set_is_one_clear_error(text, expected):
    assert expected in message(None, [text])


def test_a_wrong_set_is_not_blamed_on_the_file(write):
    path = write("train:\n  members: 3\n")
    text = message(path, ["train.epoch=3"])
    assert text.startswith("--set train.epoch=3: unknown key")
    assert "my.yaml" not in text


def test_set_below_a_value_of_the_file_is_refused(write):
    assert "is a value, not a section" in message(write("train: 5\n"), ["train.members=1"])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4 GiB", 4 * 2**30),
        ("1.5 GB", 1_500_000_000),
        ("500MB", 500_000_000),
        ("7", 7),
        ("2 kib", 2048),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert load_config(None, [f"resources.memory='{text}'"]).resources.memory == size


@given(st.integers(0, 2**50))
def test_a_size_in_bytes_is_itself(size):
    assert parse_bytes(size) == size
    assert parse_bytes(f"{size} B") == size


@pytest.mark.parametrize("text", ["lots", "4 GX", "GiB", "1.2.3 GB"])
def test_a_size_that_is_none_is_refused_with_an_example(text):
    assert "not a size such as '4 GiB'" in message(None, [f"resources.memory='{text}'"])


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.members = 3


@pytest.mark.parametrize("model", sorted(models(), key=lambda model: model.__name__))
def test_every_field_has_a_sentence(model):
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
        assert field.description.rstrip().endswith("."), f"{model.__name__}.{name}"


def test_the_printed_reference_is_current():
    printed = conf_folder() / "README.md"
    assert printed.read_text() == describe(), "python -m distcnn.config.describe > conf/README.md"


def test_the_reference_names_every_section_and_key():
    text = describe()
    for model in models() - {Config}:
        for name, field in model.model_fields.items():
            assert f"| `{name}` |" in text or f".{name}`" in text, f"{model.__name__}.{name}"
            if not any(isinstance(mark, Follows) and mark.former for mark in field.metadata):
                assert " ".join(field.description.split())[:20].replace("``", "`") in text


@pytest.mark.parametrize(
    ("text", "name", "first", "second"),
    [
        ("train:\n  members: 3\ntrain:\n  batch: 64\n", "train", 1, 3),
        ("train:\n  members: 3\n  members: 4\n", "train.members", 2, 3),
        (
            "ingest:\n  labels:\n    cuts:\n    - column: a\n      column: b\n",
            "ingest.labels.cuts.0.column",
            4,
            5,
        ),
        ('train:\n  members: 3\n"train": {batch: 4}\n', "train", 1, 3),
    ],
)
def test_a_key_that_is_given_twice_names_both_lines(write, text, name, first, second):
    path = write(text)
    told = message(path)
    assert f"{path}, line {second}: '{name}' is given again; it stands in line {first}" in told


def test_a_key_given_twice_within_one_set_is_refused_too():
    assert "'members' is given again" in message(None, ["train={members: 3, members: 4}"])


@pytest.mark.parametrize("text", ["a: &x\n  b: *x\n", "[1]: 2\n"])
def test_yaml_that_cannot_be_made_values_is_refused_in_one_line(write, text):
    assert "not readable as YAML" in message(write(text))


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("- train\n", None, "holds a list"),
        ("train\n", None, "holds a text"),
        ("train:\n\tmembers: 3\n", 2, "Indent with spaces, not with tabs."),
        ("train:\n  members:3\n", 1, "expected a section: keys with a colon, a space"),
        ("train:\n", 1, "Leave the section out for the defaults."),
        ("train:\n  members: 3\n epochs: 2\n", 3, "not readable as YAML"),
        ("train: {members: 3}\n---\ntrain: {members: 4}\n", 2, "remove the line '---'"),
        ("train.members: 3\n", 1, "'train: {members: ...}': dots are for --set"),
        ("ingest:\n  source:\n    files: *.fits\n", 3, "begins with * or & in quotes"),
        ('ingest: {survey: "C:\\data"}\n', 1, "Use single quotes"),
        ("ingest:\n  release: 3.10\n", 2, "expected a text. Put it in quotes."),
        ("train:\n  epochs: yes\n", 2, "train.epochs = 'yes'"),
        ("train:\n  epochs: true\n", 2, "train.epochs = True"),
        ("train:\n  labels: [teff, true]\n", 2, "not true or false"),
        ("train:\n  epochs: 12:30\n", 2, "train.epochs = '12:30'"),
        ("train:\n  epochs: 2022-06-13\n", 2, "train.epochs = '2022-06-13'"),
        ("train:\n  epochs: 0o17\n", 2, "train.epochs = '0o17'"),
        ("train:\n  learning_rate: .inf\n", 2, "expected a finite number"),
        ("train: !!python/object/apply:os.system ['true']\n", 1, "could not determine"),
        ("train: {epochs: 3}\n\x07\n", 2, "no text, U+0007"),
        (
            "# r\u00e9glages\ntrain: {epochs: \u00e9}\n".encode("latin-1"),
            1,
            "byte 0xe9 is no UTF-8",
        ),
    ],
)
def test_a_trap_of_yaml_is_one_line_that_names_file_and_line(tmp_path, text, line, told):
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = message(path)
    assert said.startswith(f"{path}, line {line}" if line else f"{path} ")
    assert told in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("scalar", "epochs"),
    [("010", 10), ("1e3", 1000), ("1.0e1", 10), ("0x10", 16), ("1_000", 1000), ("'7'", 7)],
)
def test_a_number_is_the_one_that_people_read(scalar, epochs):
    assert load_config(None, [f"train.epochs={scalar}"]).train.epochs == epochs


def test_what_is_true_or_false_may_be_said_so():
    assert load_config(None, ["train.network.xp=true"]).train.network.xp is True
    assert StudentNetwork(student=True).student is True


@pytest.mark.parametrize("text", ["no", "on", "12:30", "2022-06-13", "007", "a#b", "=", "1e"])
def test_a_text_stays_a_text(text):
    assert load_config(None, [f"ingest.survey={text}"]).ingest.survey == text


@pytest.mark.parametrize("text", ["no", "12:30", "007", "1e3", "0o7", "true", "~", "2022-06-13"])
def test_a_printed_text_is_read_back(text, tmp_path):
    config = load_config(None, [f"ingest.survey='{text}'"])
    (tmp_path / "printed.yaml").write_text(to_yaml(config, "printed"))
    assert load_config(tmp_path / "printed.yaml") == config


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbftrain:\r\n  epochs: 3\r\n",
        b"train:\r  epochs: 3\r",
        "train: {epochs: 3}\n".encode("utf-16"),
        b"x: &a {epochs: 3}\n".replace(b"x", b"train"),
        b"train: {<<: {epochs: 3}}\n",
        b"---\ntrain: {epochs: 3}\n...\n",
        b'{"train": {"epochs": 3}}',
    ],
)
def test_other_ways_to_write_a_file_are_read(data, tmp_path):
    (tmp_path / "my.yaml").write_bytes(data)
    assert load_config(tmp_path / "my.yaml").train.epochs == 3


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("nm", "nm"),
        ("nanometers", "nm"),
        ("NM ", "NM"),
        ("Angstrom", "Angstrom"),
        ("angstroms", "Angstrom"),
        ("ANGSTROM", "Angstrom"),
        ("A", "Angstrom"),
        ("AA", "Angstrom"),
        ("\u00c5", "Angstrom"),
        ("\u212b", "Angstrom"),
        ("um", "um"),
        ("micron", "um"),
        ("\u00b5m", "um"),
        ("\u03bcm", "um"),
        ("Micrometer", "um"),
        ("m", "m"),
        ("metre", "m"),
    ],
)
def test_a_unit_of_wavelength_may_be_spelt_as_usual(spelling, unit):
    if unit == "NM":
        assert "a unit of wavelength: nm" in message(None, [f"ingest.grid.unit='{spelling}'"])
    else:
        assert load_config(None, [f"ingest.grid.unit='{spelling}'"]).ingest.grid.unit == unit


@pytest.mark.parametrize("unit", ["furlong", "log10(Angstrom)", "M", "keV", "''"])
def test_another_unit_of_wavelength_is_refused_with_those_that_are_known(unit):
    told = message(None, [f"ingest.prepare.target={{start: 1, unit: {unit}}}"])
    assert "ingest.prepare.target.unit" in told
    assert "Angstrom (A, AA" in told
    assert ("spacing: log" in told) == unit.startswith("log")


@pytest.mark.parametrize("key", ["monitor.journal", "monitor.tensorboard", "train.split.groups"])
def test_a_path_in_the_configuration_is_on_a_disk(key):
    told = message(None, [f"{key}=s3://bucket/x"])
    assert key in told
    assert "is on s3" in told
    section, name = key.rsplit(".", 1)
    config = load_config(None, [f"{key}=file:///data/x"])
    for part in section.split("."):
        config = getattr(config, part)
    assert getattr(config, name) == Path("/data/x")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("ingest.bands=[G, BP, G]", "every name once; G is given again"),
        ("ingest.labels={reader: table, files: a, labels: [teff, teff]}", "teff is given again"),
        ("ingest.labels={reader: table, files: a, cuts: [{column: SNR}]}", "it cuts nothing"),
        (
            "ingest.labels={reader: table, files: a, cuts: [{column: a, minimum: 2, maximum: 1}]}",
            "minimum = 2 not above maximum = 1",
        ),
        ("ingest.source={reader: table, files: 's3://bucket/*.fits'}", "Fetch the files first"),
        ("train.split.train=0.9", "at most 1; they are 1.15"),
    ],
)
def test_a_setting_that_could_have_no_effect_is_refused(given, told):
    assert told in message(None, [given])


@pytest.mark.parametrize(
    ("given", "only"),
    [
        ("ingest.prepare={continuum_window: 11}", "with normalisation: running_quantile"),
        (
            "ingest.prepare={rebin: 3, target: {start: 400, step: 1, size: 99}}",
            "without a target grid",
        ),
        ("ingest.prepare={outlier_sigma: null, outlier_floor: 0.3}", "with an outlier_sigma"),
        ("ingest.store={flux_encoding: float32, flux_step: 1e-3}", "with flux_encoding: int16"),
        ("ingest={spectra: null, grid: {unit: um}}", "with ingest.spectra"),
        ("ingest={spectra: null, store: {keep_flux_error: false}}", "with ingest.spectra"),
        ("train.network={preset: rave2020, width: 32}", "with preset: hybrid"),
        ("train={network: {xp: false}, augment: {drop_xp: 0.5}}", "with train.network.xp"),
        ("train.distribute={strategy: ensemble, ranks: 2}", "with strategy: data"),
    ],
)
def test_a_setting_without_effect_beside_another_is_refused(given, only):
    told = message(None, [given])
    assert "has no effect" in told
    assert f"it only {only}. Leave it out." in told


def test_a_setting_without_effect_is_told_with_its_line(write):
    path = write("ingest:\n  store:\n    flux_encoding: float16\n    flux_step: 1e-3\n")
    assert message(path).startswith(f"{path}, line 4: ingest.store.flux_step = 0.001 has no effect")


def test_a_printed_configuration_gives_defaults_that_have_no_effect(tmp_path):
    config = load_config(None, ["train.network.preset=rave2020", "ingest.spectra=null"])
    (tmp_path / "printed.yaml").write_text(to_yaml(config, "printed"))
    assert load_config(tmp_path / "printed.yaml") == config


@pytest.mark.parametrize("given", ["{start: 846.0}", "{start: 846.0, step: 0.01}", "{size: 9}"])
def test_a_grid_is_given_whole_or_not_at_all(given):
    assert "start, step and size together" in message(None, [f"ingest.grid={given}"])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ingest.spectra.files=", ("ingest.spectra.files = None", "a text or a list", "leave")),
        ("ingest.spectra.files=[]", ("a pattern of names, such as '*.fits'",)),
        ("ingest.spectra.files=['']", ("a pattern of names, such as '*.fits'",)),
        ("ingest.spectra.files=!a.fits", ("Put a text that begins with ! in quotes",)),
        ("ingest.store.shard_stars=100", ("a multiple of chunk_stars = 2048",)),
    ],
)
def test_settings_that_can_only_fail_later_are_refused_at_once(setting, words):
    told = message(None, ["ingest.spectra.reader=table", "ingest.spectra.files=a", setting])
    for word in words:
        assert word in told
    assert ".str" not in told


def test_bands_that_no_table_can_give_have_no_effect():
    sets = ["ingest.source=null", "ingest.source_required=false", "ingest.bands=[V]"]
    assert "ingest.bands" in message(None, sets)
    load_config(None, [*sets[:2], "ingest.bands=[]"])


def test_a_pattern_may_begin_with_the_folder_it_is_in():
    sets = ["ingest.spectra.reader=table", "ingest.spectra.files=./a*.fits"]
    assert load_config(None, sets).ingest.spectra.files == "a*.fits"


def test_a_part_of_a_section_whose_default_is_a_whole_is_told_what_is_missing():
    told = message(None, ["ingest.spectra.files=a*.fits"])
    assert told.startswith("--set ingest.spectra.files=a*.fits: ingest.spectra.reader is missing")
    assert "expected it beside files" in told


SECRETS = ("key", "secretAccessKey", "aws_access_key_id", "AZURE_STORAGE_SAS_TOKEN", "sas",
           "accountKey", "session-token", "PASSWORD", "credentials", "signature",
           "AZURE_STORAGE_CONNECTION_STRING", "apikey")  # fmt: skip
OPEN = ("AWS_REGION", "endpoint", "KEYBOARD", "KANSAS", "MONKEY_HOUSE", "AWS_ENDPOINT_URL",
        "GOOGLE_APPLICATION_CREDENTIALS", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SHARED_CREDENTIALS_FILE", "retries", "AZURE_STORAGE_ACCOUNT")  # fmt: skip


def test_names_of_secrets_are_one_list_and_places_of_secrets_are_none():
    assert [name for name in (*SECRETS, *OPEN) if holds_secret(name)] == list(SECRETS)


@pytest.mark.parametrize("name", SECRETS[:4])
def test_a_secret_among_the_settings_of_object_stores_is_refused_and_not_shown(name):
    told = message(None, [f"objects.{name}=hush"])
    assert "credentials in the environment" in told
    assert "hush" not in told
