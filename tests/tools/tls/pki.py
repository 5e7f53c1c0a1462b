"""Authorities, certificates and keys, made by openssl in a directory that is thrown away."""

import datetime
import pathlib
import subprocess

CONFIG = """
[ca]
default_ca = this
[this]
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
"""

PASSWORD = "changeit"


def openssl(*arguments):
    run = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {run.stderr}")


def moment(seconds_from_now):
    now = datetime.datetime.now(datetime.timezone.utc)
    return now + datetime.timedelta(seconds=seconds_from_now)


class Identity:
    """A certificate and its key: PEM files, and both in one PKCS #12 file for Java."""

    def __init__(self, stem):
        self.cert, self.key, self.p12 = (stem.with_suffix(end) for end in (".pem", ".key", ".p12"))

    def for_java(self):
        if not self.p12.exists():
            openssl("pkcs12", "-export", "-in", self.cert, "-inkey", self.key, "-out", self.p12,
                    "-passout", f"pass:{PASSWORD}", "-name", "me")
        return self.p12


def new_key(path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


class Authority:
    def __init__(self, directory, name):
        self.dir = pathlib.Path(directory) / name
        self.dir.mkdir(parents=True)
        self.cert, self.key = self.dir / "ca.pem", self.dir / "ca.key"
        self.config = self.dir / "config"
        self.config.write_text(CONFIG.format(dir=self.dir))
        (self.dir / "index").touch()
        (self.dir / "serial").write_text("01\n")
        new_key(self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-out", self.cert, "-days", "30",
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, names=(), usage="serverAuth,clientAuth", begins=-3600, ends=86400):
        """`names` are subject alternative names as openssl writes them, such as `DNS:localhost`;
        the times are seconds from now."""
        identity = Identity(self.dir / name)
        request, extensions = self.dir / f"{name}.csr", self.dir / f"{name}.ext"
        lines = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if names:
            lines.append("subjectAltName=" + ",".join(names))
        extensions.write_text("\n".join(lines) + "\n")
        new_key(identity.key)
        openssl("req", "-new", "-key", identity.key, "-out", request, "-subj", f"/CN={name}")
        stamp = "%Y%m%d%H%M%SZ"
        openssl("ca", "-batch", "-notext", "-config", self.config, "-cert", self.cert,
                "-keyfile", self.key, "-in", request, "-out", identity.cert, "-extfile", extensions,
                "-startdate", moment(begins).strftime(stamp), "-enddate", moment(ends).strftime(stamp))
        return identity
