"""Reading a manifest, and the files that it names, each of which has its digest there."""

from distcnn import hashing
from distcnn.errors import DigestMismatch, PackageError
from distcnn.location import A_FILE, A_PACKAGE, NOT_THERE, Address, Location, contents_of
from distcnn.manifest.manifest import Manifest
from distcnn.schema import PACKAGE_FORMATS

MANIFEST = "manifest.json"
_CURE = "Restore the package from a copy, or train again."


def read_manifest(package: Address) -> Manifest:
    """The manifest of a package that this version can use; nothing else of it is opened.

    Raises
    ------
    PackageError : there is none, or it has another format.
    """
    try:
        manifest = Manifest.from_bytes((Location.parse(package) / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise no_package(package, error) from None
    if manifest.format not in PACKAGE_FORMATS:
        newer = (manifest.format or 0) > max(PACKAGE_FORMATS)
        raise PackageError(
            f"{package} has format {manifest.format}",
            expected=f"format {', '.join(map(str, PACKAGE_FORMATS[:-1]))} or {PACKAGE_FORMATS[-1]}",
            cure=f"It was written by {'a newer' if newer else 'an old'} version of distcnn; "
            f"{'update distcnn' if newer else 'train again'}.",
        )
    return manifest


def no_package(path: Address, error: Exception) -> PackageError:
    """What to say of a path that cannot be read as a package."""
    place = Location.parse(path)
    found = contents_of(place)
    if found == NOT_THERE:
        return PackageError(f"{path} does not exist", expected="a package")
    if found == A_PACKAGE:
        found = f"a package whose {MANIFEST} is not understood ({type(error).__name__}: {error})"
    file = found == A_FILE and place.name == MANIFEST
    damaged = MANIFEST in found
    return PackageError(
        f"{path} is not a package but {found}",
        expected=f"a folder with a readable {MANIFEST}",
        cure=f"Give its folder, {place.parent}."
        if file
        else "Restore it from a copy, or train again."
        if damaged
        else "`distcnn train SURVEY PACKAGE` makes one.",
    )


def read_file(package: Address, manifest: Manifest, name: str) -> bytes:
    """Bytes of one file of a package.

    Raises
    ------
    PackageError : the manifest does not name the file.
    DigestMismatch : the file is missing or is not the one that the manifest names.
    """
    expected = manifest.files.get(name)
    if expected is None:
        raise PackageError(f"{package} has no file {name!r} in its manifest", cure=_CURE)
    place = Location.parse(package) / name
    try:
        data = place.read_bytes()
    except OSError as error:
        why = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DigestMismatch(f"{place} {why}", cure=_CURE) from None
    found = hashing.of_bytes(data)
    if found != expected:
        raise DigestMismatch(
            f"{place} has sha256 {found[:16]}...",
            expected=f"{expected[:16]}..., as the manifest says",
            cure=_CURE,
        )
    return data
