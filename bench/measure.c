/*
 * measure FILE COMMAND [ARGUMENT…]: runs the command and appends "wall cpu rss" to FILE: seconds, seconds (user and
 * system, all threads, children that it waited for), peak resident KiB. Exits as the command does. Finer than time(1).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    FILE *out = argc > 2 ? fopen(argv[1], "ae") : NULL;
    if (!out) {
        fprintf(stderr, "usage: measure FILE COMMAND [ARGUMENT...]\n");
        return 2;
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    int status = 0;
    struct rusage u = {0};
    if (pid < 0 || wait4(pid, &status, 0, &u) < 0) {
        perror("measure");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    fprintf(out, "%.6f %.6f %ld\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9,
            seconds(u.ru_utime) + seconds(u.ru_stime), u.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
