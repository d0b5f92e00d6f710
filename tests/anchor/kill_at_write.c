// Preloaded into a process under test: ends it by SIGKILL at the n-th change that it makes to a file, right before
// that change or in the middle of a write. Counts nothing until `kill_at` is called.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static volatile long left = -1;
static volatile int torn = 0;
static volatile long seen = 0;

void kill_at(long n, int half) { seen = 0; torn = half; left = n; }
long writes_seen(void) { return seen; }

static int is_file(int fd) {
    struct stat at;
    return fstat(fd, &at) == 0 && S_ISREG(at.st_mode);
}

// 1 when this change is the one: the caller may still do half of it before `end`.
static int due(void) {
    if (left < 0) return 0;
    seen++;
    return left-- == 0;
}

static void end(void) { kill(getpid(), SIGKILL); }

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITES(name, off)                                                       \
    ssize_t name(int fd, const void *data, size_t size, off at) {               \
        REAL(name);                                                             \
        if (is_file(fd) && due()) {                                             \
            if (torn && size > 1) real(fd, data, size / 2, at);                 \
            end();                                                              \
        }                                                                       \
        return real(fd, data, size, at);                                        \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (is_file(fd) && due()) {
        if (torn && size > 1) real(fd, data, size / 2);
        end();
    }
    return real(fd, data, size);
}

#define CHANGES(name, length)                                                   \
    int name(int fd, length size) {                                             \
        REAL(name);                                                             \
        if (is_file(fd) && due()) end();                                        \
        return real(fd, size);                                                  \
    }
CHANGES(ftruncate, off_t)
CHANGES(ftruncate64, off64_t)

int fsync(int fd) {
    REAL(fsync);
    if (is_file(fd) && due()) end();
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (is_file(fd) && due()) end();
    return real(fd);
}

int unlink(const char *path) {
    REAL(unlink);
    if (due()) end();
    return real(path);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (due()) end();
    return real(from, to);
}
