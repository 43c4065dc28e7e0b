// A disk that is full while a file exists. Preloaded into a program, it makes
// writes fail with ENOSPC for every file under one directory.
//
//   DISK_FULL_UNDER  the directory, without links in it
//   DISK_FULL_WHILE  the file that makes it full

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int fd) {
  const char *under = getenv("DISK_FULL_UNDER");
  const char *flag = getenv("DISK_FULL_WHILE");
  if (!under || !flag)
    return 0;
  int before = errno;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = access(flag, F_OK) == 0 ? readlink(link, path, sizeof path - 1) : -1;
  errno = before;
  if (length < 0)
    return 0;
  path[length] = 0;
  size_t prefix = strlen(under);
  return strncmp(path, under, prefix) == 0 && path[prefix] == '/';
}

static int grows(int fd, off_t length) {
  struct stat now;
  return fstat(fd, &now) == 0 && length > now.st_size;
}

#define REAL(name, ...)                                                        \
  static __typeof__(&name) real;                                               \
  if (!real)                                                                   \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                         \
  return real(__VA_ARGS__)

#define REFUSE(full)                                                           \
  if (full) {                                                                  \
    errno = ENOSPC;                                                            \
    return -1;                                                                 \
  }

ssize_t write(int fd, const void *data, size_t size) {
  REFUSE(is_full(fd));
  REAL(write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REFUSE(is_full(fd));
  REAL(pwrite, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REFUSE(is_full(fd));
  REAL(pwrite64, fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REFUSE(is_full(fd));
  REAL(writev, fd, parts, count);
}

// A file may always become shorter.
int ftruncate(int fd, off_t length) {
  REFUSE(grows(fd, length) && is_full(fd));
  REAL(ftruncate, fd, length);
}

int ftruncate64(int fd, off64_t length) {
  REFUSE(grows(fd, length) && is_full(fd));
  REAL(ftruncate64, fd, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
  REFUSE(is_full(fd));
  REAL(fallocate, fd, mode, at, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
  REFUSE(is_full(fd));
  REAL(fallocate64, fd, mode, at, length);
}

// This one returns the error.
int posix_fallocate(int fd, off_t at, off_t length) {
  if (is_full(fd))
    return ENOSPC;
  REAL(posix_fallocate, fd, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
  if (is_full(fd))
    return ENOSPC;
  REAL(posix_fallocate64, fd, at, length);
}

int fsync(int fd) {
  REFUSE(is_full(fd));
  REAL(fsync, fd);
}

int fdatasync(int fd) {
  REFUSE(is_full(fd));
  REAL(fdatasync, fd);
}
