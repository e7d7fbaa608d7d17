/*
 * An image file as what a descriptor needs of it: averages of 64 x 64 cells that cover the whole picture, as it is meant
 * to be seen. No state outside of the arguments: any number of threads may read images at once. Blocks on the disk and on
 * the CPU. Nothing is printed, whatever is in the file.
 */
#ifndef RV_IMAGE_H
#define RV_IMAGE_H

#include <stdint.h>
#include <stdio.h>

enum { RV_GRID = 64, RV_IMAGE_WHY = 256 };
#define RV_IMAGE_CUT "cut: the file ends before the image does"

/* Sums of the pixels' red, green and blue, weighted by how much of a pixel lies in a cell: exact whatever the size. */
struct rv_grid {
    int width, height; /* of what is put in */
    uint64_t sums[RV_GRID][RV_GRID][3];
};

struct rv_image {
    int width, height; /* in pixels, as the file has them; swapped where the orientation says so */
    int orientation;   /* 1..8, as EXIF numbers them */
    struct rv_grid grid;
    char why[RV_IMAGE_WHY]; /* of a failure: one line without the file's name */
};

enum rv_image_result { RV_IMAGE_OK, RV_IMAGE_UNREADABLE, RV_IMAGE_BAD, RV_IMAGE_TOO_LARGE };

/* The file's averages, orientation applied, alpha laid over white. An image of more than max_pixels is refused before
 * anything of its size is allocated. */
enum rv_image_result rv_image_read(const char *path, int64_t max_pixels, struct rv_image *image);

/* The average of a cell as it is seen, 0..255; by row and column from the top left. */
void rv_image_cell(const struct rv_image *image, int row, int column, double rgb[3]);

/* libgd says what it thinks of a file on standard error, unless the process has told it otherwise: this tells it. To be
 * called before the first image is read. */
void rv_image_silence(void);

/* ---- between the parts ---- */

void rv_grid_start(struct rv_grid *g, int width, int height);
/* Adds row y, of width pixels of 3 bytes. */
void rv_grid_add(struct rv_grid *g, int y, const unsigned char *rgb);

enum rv_image_format { RV_FORMAT_NONE, RV_FORMAT_JPEG, RV_FORMAT_PNG, RV_FORMAT_GIF, RV_FORMAT_WEBP, RV_FORMAT_BMP };

struct rv_image_header {
    enum rv_image_format format;
    int64_t width, height; /* 0 when the header does not say; of a JPEG always */
    int64_t start;         /* where the picture to decode begins: the first frame of an animated WebP */
};

/* What the first bytes say, whatever the file's name. */
void rv_image_header(int fd, struct rv_image_header *header);

/* A JPEG's EXIF orientation, 1 when it has none. */
int rv_image_orientation(int fd);

/* RV_IMAGE_OK, or the refusal of an image of that size, with why. */
enum rv_image_result rv_image_size(struct rv_image *image, int64_t width, int64_t height, int64_t max_pixels);

enum rv_image_result rv_image_jpeg(FILE *file, int64_t max_pixels, struct rv_image *image); /* jpeg.c */
enum rv_image_result rv_image_png(FILE *file, struct rv_image *image); /* png.c; the size is known */
/* gd.c: GIF, WebP and BMP */
enum rv_image_result rv_image_gd(FILE *file, const struct rv_image_header *header, struct rv_image *image);

#endif
