/*
 * Makes of one image what becomes of images elsewhere, and writes each to FOLDER/NUMBER.KIND.EXTENSION:
 *
 *     variants NUMBER IMAGE FOLDER
 *
 *     cc -std=c11 -O2 variants.c -lgd -lm
 */
#include <gd.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *number, *folder;

static int save(gdImagePtr im, const char *kind, const char *extension, int quality)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s.%s", folder, number, kind, extension);
    FILE *file = im ? fopen(path, "wb") : NULL;
    if (!file) {
        fprintf(stderr, "variants: %s: cannot be made\n", path);
        return 1;
    }
    if (!strcmp(extension, "jpg"))
        gdImageJpeg(im, file, quality);
    else if (!strcmp(extension, "webp"))
        gdImageWebpEx(im, file, quality);
    else
        gdImagePng(im, file);
    return fclose(file) != 0;
}

static gdImagePtr resized(gdImagePtr im, double by)
{
    int w = (int)lround(gdImageSX(im) * by), h = (int)lround(gdImageSY(im) * by);
    gdImagePtr out = gdImageCreateTrueColor(w, h);
    if (out)
        gdImageCopyResampled(out, im, 0, 0, 0, 0, w, h, gdImageSX(im), gdImageSY(im));
    return out;
}

/* Without a share of each side, off centre: a third of it on the left and top. */
static gdImagePtr cropped(gdImagePtr im, double share)
{
    int w = gdImageSX(im), h = gdImageSY(im);
    gdRect rest = {(int)(w * share / 3), (int)(h * share / 3), (int)(w * (1 - share)), (int)(h * (1 - share))};
    return gdImageCrop(im, &rest);
}

int main(int argc, char **argv)
{
    static const int jpeg_qualities[] = {30, 50, 70, 90}, percents[] = {25, 50, 75, 150, 200}, cuts[] = {5, 10, 20};
    if (argc != 4) {
        fprintf(stderr, "usage: variants NUMBER IMAGE FOLDER\n");
        return 2;
    }
    number = argv[1];
    folder = argv[3];
    gdImagePtr im = gdImageCreateFromFile(argv[2]), other;
    if (!im || !gdImagePaletteToTrueColor(im)) {
        fprintf(stderr, "variants: %s: cannot be decoded\n", argv[2]);
        return 1;
    }
    int failed = 0;
    char kind[32];
    for (size_t i = 0; i < sizeof jpeg_qualities / sizeof *jpeg_qualities; i++) {
        snprintf(kind, sizeof kind, "jpeg-%d", jpeg_qualities[i]);
        failed |= save(im, kind, "jpg", jpeg_qualities[i]);
    }
    failed |= save(im, "webp-50", "webp", 50) | save(im, "png", "png", 0);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        snprintf(kind, sizeof kind, "resize-%d", percents[i]);
        failed |= save(other = resized(im, percents[i] / 100.0), kind, "jpg", 85);
        gdImageDestroy(other);
    }
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        snprintf(kind, sizeof kind, "crop-%d", cuts[i]);
        failed |= save(other = cropped(im, cuts[i] / 100.0), kind, "jpg", 85);
        gdImageDestroy(other);
    }
    gdImageFlipHorizontal(im);
    failed |= save(im, "flip", "jpg", 85);
    gdImageDestroy(im);
    return failed;
}
