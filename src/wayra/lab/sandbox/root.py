"""The files a sandboxed program sees: Python and the libraries it needs, read-only, and one small folder of its own.

There is no /proc, no /sys, no /home, no /etc but the list of libraries, and no device but null, zero and urandom.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from wayra.lab.sandbox import kernel

WORK = "/tmp"
PACKAGES = "/packages"
OLD = "/old"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
LIBRARY_FOLDERS = ("/lib", "/lib32", "/lib64", "/usr/lib64")
OPTIONAL = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
SEALED = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV


def python_paths() -> list[str]:
    """What this interpreter needs: its program, its library, and the folders of the C libraries it has loaded."""
    found = [os.path.realpath(sys.executable)]
    found += [os.path.realpath(path) for path in sys.path if path.startswith(sys.base_prefix) and os.path.isdir(path)]
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        loaded = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line and "/" in line}
    inside = tuple(f"{path}/" for path in found)
    found += sorted({os.path.dirname(path) for path in loaded if not path.startswith(inside)})
    if found[0].startswith("/nix/"):
        found.append("/nix/store")
    return list(dict.fromkeys(found))


def build(packages: Sequence[str], files: Mapping[str, bytes], disk_bytes: int, owner: int) -> None:
    """Make it and move there; the old root is gone afterwards. Must be alone in a new mount namespace.

    packages: folders to be importable. files: into the program's folder, which belongs to `owner`.
    """
    needed = python_paths()
    links = {folder: os.readlink(folder) for folder in LIBRARY_FOLDERS if os.path.islink(folder)}
    loaders = [
        os.path.join(folder, name)
        for folder in LIBRARY_FOLDERS
        if os.path.isdir(folder) and not os.path.islink(folder)
        for name in os.listdir(folder)
        if name.startswith("ld-linux")
    ]
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
    base = next(folder for folder in ("/tmp", "/mnt", "/var", "/usr") if os.path.isdir(folder))
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    os.chdir(base)
    os.mkdir(OLD[1:], 0o700)
    kernel.pivot_root(OLD[1:])
    os.chdir("/")
    for folder, target in links.items():
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        os.symlink(target, folder)
    for path in [*needed, *loaders, *OPTIONAL]:
        if os.path.exists(OLD + path):
            _show(OLD + path, path, SEALED)
    for device in DEVICES:
        _show(OLD + device, device, kernel.MS_RDONLY | kernel.MS_NOSUID)
    os.makedirs(PACKAGES)
    for package in packages:
        _show(OLD + package, f"{PACKAGES}/{os.path.basename(package)}", SEALED)
    _hide_other_packages(needed)
    _make_work(files, disk_bytes, owner)
    kernel.unmount(OLD)
    os.rmdir(OLD)
    kernel.make_read_only_here("/", SEALED)


def _show(source: str, target: str, flags: int) -> None:
    """Bind a file or folder of the old root to its place in the new one."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
    kernel.mount(source, target, "none", kernel.MS_BIND | kernel.MS_REC)
    kernel.make_read_only(target, flags)


def _hide_other_packages(shown: Sequence[str]) -> None:
    """What happens to be installed beside the standard library is no part of it."""
    for folder in shown:
        for name in ("site-packages", "dist-packages"):
            if os.path.isdir(os.path.join(folder, name)):
                flags = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
                kernel.mount("tmpfs", os.path.join(folder, name), "tmpfs", flags, "size=4k,nr_inodes=1")


def _make_work(files: Mapping[str, bytes], disk_bytes: int, owner: int) -> None:
    os.makedirs(WORK, exist_ok=True)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", WORK, "tmpfs", flags, f"size={disk_bytes},nr_inodes=2048,mode=700")
    for name, content in files.items():
        path = os.path.join(WORK, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    if owner != os.geteuid():
        for folder, _, names in os.walk(WORK):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, owner, owner)
