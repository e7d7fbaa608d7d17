/* A picture as one vector, by which pictures that look alike are near each other. No state. */
#ifndef RV_DESCRIPTOR_H
#define RV_DESCRIPTOR_H

#include "image.h"

/* Colours: coefficients of luminance, of each of two chrominances, and a constant; edges: 16 parts of 6 kinds. */
enum {
    RV_COLOUR_Y = 15,
    RV_COLOUR_C = 10,
    RV_COLOURS = RV_COLOUR_Y + 2 * RV_COLOUR_C + 1,
    RV_EDGES = 16 * 6,
    RV_DESCRIPTOR = RV_COLOURS + RV_EDGES
};

/* Names what the numbers mean: another when they change. */
#define RV_DESCRIPTOR_NAME "mpeg7-cld-ehd-1"

/* Its length is 1, so that cosine and dot product are the same. Never all zero. */
void rv_descriptor(const struct rv_image *image, float vector[RV_DESCRIPTOR]);

#endif
