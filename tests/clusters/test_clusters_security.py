"""Encryption: made for the run or the user's own; who has no certificate is refused in words."""

import ssl
import sys
import time

import dask
import pytest
from conformance.cluster_checks import square, wait_until
from dask_processes import scheduler, worker

from distcnn.clusters import open_cluster
from distcnn.clusters.dask_workers.security import (
    choose_security,
    temporary_security,
    tls_variables,
    write_certificates,
)
from distcnn.config import load_config, to_yaml
from distcnn.config.run import ExistingConfig, TlsConfig
from distcnn.errors import ClusterError, ConfigError, MissingExtra

FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


def certificates(folder):
    """Files of an authority of their own, as a user would have them."""
    folder.mkdir()
    write_certificates(temporary_security(), folder)
    return {key: folder / name for key, name in FILES.items()}


def on_command_line(files):
    return (
        *("--tls-ca-file", str(files["ca"]), "--tls-cert", str(files["cert"])),
        *("--tls-key", str(files["key"]), "--protocol", "tls"),
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("security") / "ours")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory, ours):
    """The address of a scheduler with two workers that all speak TLS."""
    folder = tmp_path_factory.mktemp("encrypted")
    more = on_command_line(ours)
    with (
        scheduler(folder, *more) as address,
        worker(address, folder, "1", *more),
        worker(address, folder, "2", *more),
    ):
        yield address


def assert_refused(address, match, **tls):
    config = ExistingConfig(backend=address, tls=TlsConfig(**tls), patience=60.0)
    with pytest.raises(ClusterError, match=match), open_cluster(config):
        pass


class TestSchedulerAndWorkersOverTls:
    def test_they_work_for_who_has_a_certificate(self, encrypted, ours):
        assert encrypted.startswith("tls://127.0.0.1:")
        config = ExistingConfig(backend=encrypted, tls=TlsConfig(**ours))
        with open_cluster(config) as executor:
            wait_until(lambda: executor.alive_workers() == 2)
            assert sum(result.unwrap() for result in executor(square, range(5))) == 30
            together = executor.together(square, [2, 3])
            assert [result.unwrap() for result in together] == [4, 9]

    def test_the_certificates_of_dasks_own_configuration_will_do(
        self, encrypted, ours, monkeypatch
    ):
        names = {"ca-file": "ca", "client.cert": "cert", "client.key": "key"}
        own = {f"distributed.comm.tls.{name}": str(ours[key]) for name, key in names.items()}
        with dask.config.set(own), open_cluster(ExistingConfig(backend=encrypted)) as executor:
            assert [result.unwrap() for result in executor(square, [7])] == [49]

    def test_who_names_no_certificate_is_refused(self, encrypted):
        assert_refused(encrypted, r"no certificates are named for tls://.*cluster\.tls\.ca")

    def test_a_certificate_of_another_authority_is_refused(self, encrypted, ours, tmp_path):
        others = certificates(tmp_path / "others")
        stranger = {**others, "ca": ours["ca"]}
        assert_refused(encrypted, r"does not accept this certificate.*one authority", **stranger)
        assert_refused(encrypted, "a certificate that cluster.tls.ca has not signed", **others)

    def test_who_comes_without_encryption_is_told_to_use_it(self, encrypted):
        assert_refused(encrypted.replace("tls://", "tcp://"), r"started with certificates.*tls://")

    def test_a_scheduler_without_encryption_is_told_from_one_with(self, ours, tmp_path):
        with scheduler(tmp_path) as plain:
            address = plain.replace("tcp://", "tls://")
            assert_refused(address, f"is not encrypted; its address is {plain}", **ours)
            assert_refused(plain, "cluster.tls is on and tcp://.* is not encrypted", mode="on")


class TestCertificatesOfTheUser:
    def test_a_missing_file_is_named_with_its_key(self, ours, tmp_path):
        missing = {**ours, "cert": tmp_path / "no.pem"}
        assert_refused("tls://127.0.0.1:9", r"no\.pem', named by cluster\.tls\.cert", **missing)
        assert_refused(
            "tls://127.0.0.1:9", r"cluster\.tls\.key is missing", ca=ours["ca"], cert=ours["cert"]
        )

    def test_files_that_are_no_certificates_are_named(self, ours, tmp_path):
        broken = tmp_path / "broken.pem"
        broken.write_text("no certificate\n")
        for key in FILES:
            assert_refused(
                "tls://127.0.0.1:9", r"broken\.pem.* cannot be used", **{**ours, key: broken}
            )

    def test_they_are_taken_for_clusters_of_our_own_too(self, ours):
        security = choose_security(TlsConfig(**ours), loopback=True)
        assert security.tls_worker_key == str(ours["key"])
        assert choose_security(TlsConfig(mode="off", **ours), loopback=False) is None


class TestTheCertificateOfARun:
    def test_it_is_made_beyond_the_loopback_interface_unless_told_otherwise(self):
        def made(mode, loopback):
            return choose_security(TlsConfig(mode=mode), loopback=loopback) is not None

        assert [made(mode, True) for mode in ("auto", "on", "off")] == [False, True, False]
        assert [made(mode, False) for mode in ("auto", "on", "off")] == [True, True, False]

    def test_no_two_runs_share_one(self):
        assert temporary_security().tls_worker_key != temporary_security().tls_worker_key

    def test_it_is_valid_where_the_clock_is_behind(self, tmp_path):
        cert = certificates(tmp_path / "c")["cert"]
        decoded = ssl._ssl._test_decode_cert(str(cert))
        begins = ssl.cert_time_to_seconds(decoded["notBefore"])
        assert time.time() - begins > 3600

    def test_its_files_are_readable_by_their_owner_alone(self, tmp_path):
        files = certificates(tmp_path / "c")
        assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
        with pytest.raises(FileExistsError):
            write_certificates(temporary_security(), tmp_path / "c")

    def test_its_key_is_not_shown(self, tmp_path):
        security = temporary_security()
        secret = security.tls_worker_key.splitlines()[1]
        assert secret not in repr(security) + str(security) + security._repr_html_()
        inside = write_certificates(security, tmp_path)
        assert secret in (tmp_path / "key.pem").read_text()
        assert secret not in str(tls_variables(inside))
        assert tls_variables(inside)["DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY"] == str(
            tmp_path / "key.pem"
        )

    def test_without_the_package_that_makes_it_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cryptography", None)
        with pytest.raises(MissingExtra, match=r"need cryptography.*distcnn\[ssh\]"):
            temporary_security()


class TestTheConfiguration:
    @pytest.mark.parametrize(("value", "mode"), [("off", "off"), ("on", "on"), ("auto", "auto")])
    def test_one_word_will_do(self, value, mode, tmp_path):
        config = load_config(None, [f"cluster.tls={value}"])
        assert config.cluster.tls == TlsConfig(mode=mode)
        path = tmp_path / "again.yaml"
        path.write_text(to_yaml(config, "Again"))
        assert load_config(path) == config

    def test_another_word_is_refused(self):
        with pytest.raises(ConfigError, match=r"cluster\.tls\.mode = 'maybe'"):
            load_config(None, ["cluster.tls=maybe"])
