/*
 * Asks one path of a server on loopback at a steady rate over one kept connection, and prints how long the answers took:
 *
 *     probe PORT PATH SECONDS RATE   ->   requests p50 p90 p99 max   (microseconds)
 *
 * A request is timed from when it was due. Those that are due while another is awaited are left out, or a server that is too
 * slow for the rate would be timed by how long it is asked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: probe PORT PATH SECONDS RATE\n", stderr);
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char request[512], answer[4096];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    int n = (int)(atof(argv[3]) * atof(argv[4]));
    double *micros = calloc((size_t)n + 1, sizeof *micros);
    if (!micros || n < 1)
        fail("so many requests");
    int64_t start = now_ns(), period = (int64_t)(1e9 / atof(argv[4]));
    int count = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t due = start + i * period;
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        if (write(fd, request, (size_t)len) != len)
            fail("write");
        /* The answer is short: it comes in one piece. */
        ssize_t got = read(fd, answer, sizeof answer);
        if (got < 12 || memcmp(answer + 8, " 200", 4))
            fail("answer");
        int64_t now = now_ns();
        micros[count++] = (double)(now - due) / 1000;
        if (now - due > period)
            i = (now - start) / period;
    }
    qsort(micros, (size_t)count, sizeof *micros, ascending);
    printf("%d %.0f %.0f %.0f %.0f\n", count, micros[count / 2], micros[count * 9 / 10], micros[count * 99 / 100], micros[count - 1]);
    free(micros);
    return 0;
}
