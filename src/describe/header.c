/* What an image says of itself before it is decoded. See image.h. */
#define _GNU_SOURCE
#include "image.h"

#include <string.h>
#include <unistd.h>

/* The picture is near the beginning: more chunks before it are somebody's attempt to keep us busy. */
enum { MAX_CHUNKS = 100 };

/* The bytes at a place of the file; 0 when there are not as many. */
static int bytes_at(int fd, int64_t offset, unsigned char *bytes, size_t n)
{
    return pread(fd, bytes, n, offset) == (ssize_t)n;
}

static uint32_t little(const unsigned char *p, int n)
{
    uint32_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static uint32_t big(const unsigned char *p, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static void png_size(int fd, struct rv_image_header *h)
{
    unsigned char ihdr[16];
    if (bytes_at(fd, 8, ihdr, sizeof ihdr) && !memcmp(ihdr + 4, "IHDR", 4)) {
        h->width = big(ihdr + 8, 4);
        h->height = big(ihdr + 12, 4);
    }
}

static void gif_size(int fd, struct rv_image_header *h)
{
    /* No frame that libgd takes is larger than the screen. */
    unsigned char screen[4];
    if (bytes_at(fd, 6, screen, sizeof screen)) {
        h->width = little(screen, 2);
        h->height = little(screen + 2, 2);
    }
}

static void bmp_size(int fd, struct rv_image_header *h)
{
    unsigned char info[12];
    if (!bytes_at(fd, 14, info, sizeof info))
        return;
    if (little(info, 4) == 12) { /* OS/2 1 */
        h->width = little(info + 4, 2);
        h->height = little(info + 6, 2);
    } else {
        int32_t height = (int32_t)little(info + 8, 4); /* negative: from the top down */
        h->width = (int32_t)little(info + 4, 4);
        h->height = height < 0 ? -(int64_t)height : height;
    }
}

/* A chunk with a bitstream of its own; whether it is one. */
static int webp_bitstream(int fd, int64_t at, const unsigned char *chunk, struct rv_image_header *h)
{
    unsigned char b[10];
    if (!memcmp(chunk, "VP8 ", 4) && bytes_at(fd, at + 8, b, 10)) {
        h->width = little(b + 6, 2) & 0x3fff;
        h->height = little(b + 8, 2) & 0x3fff;
        return 1;
    }
    if (!memcmp(chunk, "VP8L", 4) && bytes_at(fd, at + 8, b, 5)) {
        uint32_t bits = little(b + 1, 4);
        h->width = (bits & 0x3fff) + 1;
        h->height = (bits >> 14 & 0x3fff) + 1;
        return 1;
    }
    return 0;
}

static void webp_size(int fd, struct rv_image_header *h)
{
    unsigned char chunk[8];
    int64_t at = 12;
    for (int i = 0; i < MAX_CHUNKS && bytes_at(fd, at, chunk, 8) && !webp_bitstream(fd, at, chunk, h); i++)
        if (!memcmp(chunk, "ANMF", 4)) {
            /* The first frame: behind its place and size there are chunks that libwebp decodes by themselves. */
            at += 24;
            if (h->start)
                return;
            h->start = at;
        } else {
            uint32_t size = little(chunk + 4, 4);
            at += 8 + (int64_t)size + (size & 1);
        }
}

void rv_image_header(int fd, struct rv_image_header *h)
{
    unsigned char b[12] = {0};
    memset(h, 0, sizeof *h);
    if (pread(fd, b, sizeof b, 0) < 4)
        return;
    if (!memcmp(b, "\xff\xd8\xff", 3)) {
        h->format = RV_FORMAT_JPEG;
    } else if (!memcmp(b, "\x89PNG\r\n\x1a\n", 8)) {
        h->format = RV_FORMAT_PNG;
        png_size(fd, h);
    } else if (!memcmp(b, "GIF87a", 6) || !memcmp(b, "GIF89a", 6)) {
        h->format = RV_FORMAT_GIF;
        gif_size(fd, h);
    } else if (!memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4)) {
        h->format = RV_FORMAT_WEBP;
        webp_size(fd, h);
    } else if (!memcmp(b, "BM", 2)) {
        h->format = RV_FORMAT_BMP;
        bmp_size(fd, h);
    }
}

/* The orientation in the TIFF structure at a place of the file; 0 when it has none. */
static int tiff_orientation(int fd, int64_t tiff)
{
    enum { MAX_ENTRIES = 200, ORIENTATION = 0x0112, SHORT = 3 };
    unsigned char b[12];
    if (!bytes_at(fd, tiff, b, 8) || (memcmp(b, "II*\0", 4) && memcmp(b, "MM\0*", 4)))
        return 0;
    uint32_t (*number)(const unsigned char *, int) = *b == 'I' ? little : big;
    int64_t at = tiff + number(b + 4, 4);
    if (!bytes_at(fd, at, b, 2))
        return 0;
    uint32_t entries = number(b, 2);
    at += 2;
    for (uint32_t i = 0; i < entries && i < MAX_ENTRIES && bytes_at(fd, at, b, 12); i++, at += 12)
        if (number(b, 2) == ORIENTATION)
            return number(b + 2, 2) == SHORT && number(b + 8, 2) <= 8 ? (int)number(b + 8, 2) : 0;
    return 0;
}

int rv_image_orientation(int fd)
{
    enum { APP1 = 0xe1, START_OF_SCAN = 0xda };
    unsigned char b[10];
    int64_t at = 2;
    for (int i = 0; i < MAX_CHUNKS && bytes_at(fd, at, b, 4) && b[0] == 0xff && b[1] != START_OF_SCAN; i++) {
        if (b[1] == 0xff) { /* filler */
            at++;
            continue;
        }
        if (b[1] == APP1 && bytes_at(fd, at, b, 10) && !memcmp(b + 4, "Exif\0", 6)) {
            int orientation = tiff_orientation(fd, at + 10);
            return orientation ? orientation : 1;
        }
        at += 2 + big(b + 2, 2);
    }
    return 1;
}
