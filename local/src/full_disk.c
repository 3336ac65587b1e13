/* A disk that can be full, for the process that this is preloaded into: while the file $FULL_DISK_FLAG exists, files whose
   path has $FULL_DISK_PART in it take no more bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether a write to this descriptor finds no room. */
static int full(int fd) {
    const char *flag = getenv("FULL_DISK_FLAG"), *part = getenv("FULL_DISK_PART");
    /* Callers of a write that succeeds may rely on an errno that stays. */
    int kept = errno, is_full = 0;
    if (flag && part && access(flag, F_OK) == 0) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            is_full = strstr(path, part) != NULL;
        }
    }
    errno = kept;
    return is_full;
}

/* Defines a function that fails with `failure` where there is no room, and is the real one elsewhere. */
#define BOUNDED(result, name, parameters, arguments, failure)         \
    static result(*real_##name) parameters;                          \
    result name parameters {                                         \
        if (!real_##name)                                            \
            *(void **)&real_##name = dlsym(RTLD_NEXT, #name);        \
        return full(fd) ? failure : real_##name arguments;           \
    }
#define NO_ROOM (errno = ENOSPC, -1)

BOUNDED(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), NO_ROOM)
BOUNDED(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), NO_ROOM)
BOUNDED(ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), NO_ROOM)
BOUNDED(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n), NO_ROOM)
BOUNDED(ssize_t, pwritev, (int fd, const struct iovec *from, int n, off_t at), (fd, from, n, at), NO_ROOM)
BOUNDED(ssize_t, pwritev64, (int fd, const struct iovec *from, int n, off64_t at), (fd, from, n, at), NO_ROOM)
BOUNDED(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), NO_ROOM)
BOUNDED(int, fallocate64, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n), NO_ROOM)
/* These two return the error. */
BOUNDED(int, posix_fallocate, (int fd, off_t at, off_t n), (fd, at, n), ENOSPC)
BOUNDED(int, posix_fallocate64, (int fd, off64_t at, off64_t n), (fd, at, n), ENOSPC)
