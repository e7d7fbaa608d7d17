/*
 * A picture in memory and what the scenes are painted with: colours, random numbers, noise, soft-edged shapes.
 *
 * One seed gives the same pixels on every machine: only + - * / sqrt and floor are used on floating point, which IEEE 754 defines
 * to the last bit, and no expression calls the generator twice, since C leaves the order open.
 * Angles are in turns. Coordinates are in pixels, y points down.
 */
#ifndef CANVAS_H
#define CANVAS_H

#include <stdint.h>

/* Fused multiply-add rounds once instead of twice. gcc fuses nothing under -std=c11, clang does. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

enum { CANVAS_MAX = 8192 }; /* width and height, in pixels */

struct rgb {
	double r, g, b; /* 0..1; more is clipped at the end */
};

struct point {
	double x, y;
};

struct canvas {
	int width, height;
	struct rgb *pixels; /* by rows */
};

struct rng {
	uint64_t state; /* any value is a good seed */
};

uint64_t rng_next(struct rng *rng);
/* A number in [low, high). */
double rng_range(struct rng *rng, double low, double high);
/* An integer in 0..n-1, for a small n. */
int rng_pick(struct rng *rng, int n);

double clamp(double x, double low, double high);
/* 0 up to `low`, 1 from `high` on, smooth in between. */
double smoothstep(double low, double high, double x);
double lerp(double a, double b, double t);
double sine(double turns);
double cosine(double turns);

struct rgb rgb(uint32_t hex);
struct rgb mix(struct rgb a, struct rgb b, double t);
struct rgb scale(struct rgb colour, double by);

/* Smooth noise in 0..1 with features of size 1, and a sum of octaves of it. */
double noise(uint64_t seed, double x, double y);
double fractal(uint64_t seed, double x, double y, int octaves);

/* Heights in 0..1 for columns 0..n-1 by midpoint displacement; `roughness` 0..1 is how much of it each halving keeps. */
void mountain_profile(struct rng *rng, double *heights, int n, double roughness);

/* Width and height 1..CANVAS_MAX. Returns 0, or -1 when there is no memory. */
int canvas_init(struct canvas *canvas, int width, int height);
void canvas_free(struct canvas *canvas);

/* Of these, points outside the canvas do nothing. */
void blend(struct canvas *canvas, int x, int y, struct rgb colour, double alpha);
/* Adds light instead of covering. */
void glow(struct canvas *canvas, struct point centre, double radius, struct rgb colour, double strength);
/* An ellipse turned by `turn`; `softness` is the width of its edge, at least 1. */
void ellipse(struct canvas *canvas, struct point centre, double rx, double ry, double turn, struct rgb colour, double softness,
    double alpha);
/* A convex polygon, its corners in clockwise order as seen on the screen. */
void convex(struct canvas *canvas, const struct point *corners, int n, struct rgb colour, double alpha);
/* A line with round ends, tapering from one width to another. */
void stroke(struct canvas *canvas, struct point from, struct point to, double width_from, double width_to, struct rgb colour);

/* What a lens and film do: darker corners, and grain of the given strength. */
void develop(struct canvas *canvas, struct rng *rng, double grain);

#endif
