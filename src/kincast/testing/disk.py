"""Disk: one that refuses the n-th write below a folder, whoever asks, Python or a library in C++.

A few lines of C stand before the C library's own calls. They are compiled where they are needed, so a test that uses
them is skipped on a machine without a C compiler. The program to be tried must run with the library preloaded:

    library = compile_disk(folder)
    subprocess.run(command, env={**os.environ, **preloaded(library)})

and inside it ``Disk(root)`` says what is to fail.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path

from kincast.errors import StorageError

_LIBRARY = "KINCAST_TESTING_DISK"

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static long calls, fail_at;   /* fail_at 0: never */
static int for_good, code, way; /* way 0: refuse, 1: write half and refuse, 2: write half and say so */

void disk_arm(const char *folder, long at, int good, int error, int how) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    __atomic_store_n(&calls, 0, __ATOMIC_SEQ_CST);
    for_good = good; code = error; way = how;
    __atomic_store_n(&fail_at, at, __ATOMIC_SEQ_CST);
}
long disk_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

static int below(const char *path) {
    char whole[PATH_MAX + 8];
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        size_t n = strlen(whole);
        snprintf(whole + n, sizeof whole - n, "/%s", path);
        path = whole;
    }
    return strncmp(path, root, root_length) == 0;
}
static int open_below(int fd) {
    char name[64], path[PATH_MAX];
    if (!root_length) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, root, root_length) == 0;
}
static int refused(void) {
    long at = __atomic_load_n(&fail_at, __ATOMIC_SEQ_CST);
    long now = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    return at && (now == at || (for_good && now > at));
}
#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL { errno = code; return -1; }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (open_below(fd) && refused()) {
        if (way) { ssize_t n = real(fd, data, (size + 1) / 2); if (way == 2) return n; }
        FAIL
    }
    return real(fd, data, size);
}
#define PWRITE(name, offset_t) \
ssize_t name(int fd, const void *data, size_t size, offset_t place) { \
    REAL(name); \
    if (open_below(fd) && refused()) { \
        if (way) { ssize_t n = real(fd, data, (size + 1) / 2, place); if (way == 2) return n; } \
        FAIL \
    } \
    return real(fd, data, size, place); \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (open_below(fd) && refused() && way != 2) FAIL
    return real(fd, parts, count);
}
#define ON_FD(type, name, declared, passed) \
type name declared { REAL(name); if (way != 2 && open_below(fd) && refused()) FAIL return real passed; }
#define ON_FD_CODE(type, name, declared, passed) \
type name declared { REAL(name); if (way != 2 && open_below(fd) && refused()) return code; return real passed; }
#define ON_PATH(type, name, declared, passed) \
type name declared { REAL(name); if (way != 2 && below(path) && refused()) FAIL return real passed; }
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t n), (fd, n))
ON_FD(int, ftruncate64, (int fd, off64_t n), (fd, n))
ON_FD(int, fallocate, (int fd, int mode, off_t a, off_t n), (fd, mode, a, n))
ON_FD(int, fallocate64, (int fd, int mode, off64_t a, off64_t n), (fd, mode, a, n))
ON_FD_CODE(int, posix_fallocate, (int fd, off_t a, off_t n), (fd, a, n))
ON_FD_CODE(int, posix_fallocate64, (int fd, off64_t a, off64_t n), (fd, a, n))
ON_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(int, rename, (const char *path, const char *to), (path, to))
int renameat(int a, const char *path, int b, const char *to) {
    REAL(renameat); if (way != 2 && below(path) && refused()) FAIL return real(a, path, b, to);
}
#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
    if (way != 2 && (flags & O_CREAT) && below(path) && refused()) FAIL \
    return real(path, flags, mode); \
}
#undef open
#undef open64
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
int name(int at, const char *path, int flags, ...) { \
    REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
    if (way != 2 && (flags & O_CREAT) && below(path) && refused()) FAIL \
    return real(at, path, flags, mode); \
}
OPENAT(openat)
OPENAT(openat64)
"""


class Refusal(IntEnum):
    """What a refused write does before it is refused."""

    CLEAN = 0
    TORN = 1  # half of it reaches the disk
    SHORT = 2  # half of it is written and said to be: no failure, but a case that programs forget


def compile_disk(folder: Path) -> Path:
    """Compile the library into a folder.

    Raises:
        StorageError: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise StorageError("a disk that fails needs a C compiler", hint="install gcc or clang")
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(_SOURCE, encoding="utf-8")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def preloaded(library: Path) -> dict[str, str]:
    """Environment of a program that is to use that library."""
    return {"LD_PRELOAD": str(library), _LIBRARY: str(library)}


class Disk:
    """The disk below a folder, in a program that was started with the library preloaded.

    Args:
        root: only calls on files below it count.

    Raises:
        StorageError: the library is not there.
    """

    def __init__(self, root: Path) -> None:
        path = os.environ.get(_LIBRARY)
        if path is None:
            raise StorageError("this program was not started with the failing disk", hint="see kincast.testing.disk")
        self._root = str(root.resolve()).encode()
        self._library = ctypes.CDLL(path)
        self._library.disk_calls.restype = ctypes.c_long
        self._library.disk_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int)

    def fail(self, at: int, error: int, for_good: bool = False, way: Refusal = Refusal.CLEAN) -> None:
        """Refuse the call of that number from now on, or every one from it on, with that error number; 0 for none."""
        self._library.disk_arm(self._root, at, for_good, error, way)

    @property
    def num_calls(self) -> int:
        """Calls since the last ``fail``."""
        return int(self._library.disk_calls())
