/*
 * What landscapes are made of. They are painted from back to front; what is far away is mixed with the colour of the air at the
 * horizon, which is most of what makes a landscape look deep.
 */
#ifndef SCENERY_H
#define SCENERY_H

#include "canvas.h"

/* The light of an hour and a season. */
struct light {
	struct rgb zenith, horizon, sun;
	struct rgb rock, leaf, grass;
	double brightness; /* of what the sun shines on */
	double sun_height; /* above the horizon, as a part of the sky */
};

struct light pick_light(struct rng *rng);
struct point pick_point(struct rng *rng, double left, double right, double top, double bottom);

/* Fills the canvas. Returns where the sun is. */
struct point paint_sky(struct canvas *canvas, struct rng *rng, const struct light *light, double horizon);

/*
 * A ridge whose crest lies between `crest` and `foot`, painted down to the bottom of the canvas. `haze` is how much of it the air
 * hides; `snow` the height (0..1) from which it is white, 2 for never.
 */
void paint_ridge(struct canvas *canvas, struct rng *rng, const struct light *light, struct rgb colour, double crest, double foot,
    double roughness, double haze, double snow);
/* Several ridges, from the horizon to one that ends at `bottom`. */
void paint_ranges(struct canvas *canvas, struct rng *rng, const struct light *light, double horizon, double bottom);

/* Grass from `top` down, sometimes in blossom. */
void paint_meadow(struct canvas *canvas, struct rng *rng, const struct light *light, double top);
/* A row of trees standing at `ground` or somewhat nearer, the nearest `height` high. */
void paint_trees(struct canvas *canvas, struct rng *rng, const struct light *light, double ground, int n, double height);
/* `foot` is its lower left corner. */
void paint_house(struct canvas *canvas, struct rng *rng, struct point foot, double size, double brightness);
/* Mirrors what is above the line `shore` into what is below; the larger `unrest`, the more broken. */
void paint_water(struct canvas *canvas, struct rng *rng, const struct light *light, double shore, double unrest);

#endif
