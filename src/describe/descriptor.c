/*
 * The colour layout and edge histogram descriptors of MPEG-7 (ISO/IEC 15938-3:2002, 6.6 and 8.2), both taken from the
 * 64 x 64 averages of an image, unquantised and made ready for cosine. doc/describe.md says what was chosen and why.
 *
 * Colour layout after E. Kasutani, A. Yamada: The MPEG-7 color layout descriptor (ICIP 2001). Edge histogram after
 * D. K. Park, Y. S. Jeon, C. S. Won: Efficient use of local edge histogram descriptor (ACM Multimedia workshops 2000).
 */
#include "descriptor.h"

#include <math.h>

enum { SIDE = 8 }; /* of the colour layout's grid, in blocks */

/* Share of the colours in the square of the vector's length; the constant beside the colours, in the same unit as they. */
static const double colour_share = 0.5, calm = 1.0;
/* Of the strength that an edge needs, on a scale of 0..255: the standard's. */
static const double edge_threshold = 11;

struct planes {
    double y[RV_GRID][RV_GRID], cb[RV_GRID][RV_GRID], cr[RV_GRID][RV_GRID]; /* 0..255, the latter two around 0 */
};

static void to_planes(const struct rv_image *image, struct planes *p)
{
    for (int r = 0; r < RV_GRID; r++)
        for (int c = 0; c < RV_GRID; c++) {
            double rgb[3];
            rv_image_cell(image, r, c, rgb);
            p->y[r][c] = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
            p->cb[r][c] = (rgb[2] - p->y[r][c]) / 1.772;
            p->cr[r][c] = (rgb[0] - p->y[r][c]) / 1.402;
        }
}

/* The first n coefficients, in zigzag order, of the DCT of the plane's 8 x 8 averages. */
static void layout(double plane[RV_GRID][RV_GRID], double zero, float *out, int n)
{
    const double pi = 3.14159265358979323846;
    double blocks[SIDE][SIDE] = {{0}}, basis[SIDE][SIDE];
    const int block = RV_GRID / SIDE;
    for (int r = 0; r < RV_GRID; r++)
        for (int c = 0; c < RV_GRID; c++)
            blocks[r / block][c / block] += (plane[r][c] - zero) / (255.0 * block * block);
    for (int u = 0; u < SIDE; u++)
        for (int x = 0; x < SIDE; x++)
            basis[u][x] = sqrt((u ? 2.0 : 1.0) / SIDE) * cos((2 * x + 1) * u * pi / (2 * SIDE));
    for (int i = 0, u = 0, v = 0; i < n; i++) {
        double sum = 0;
        for (int r = 0; r < SIDE; r++)
            for (int c = 0; c < SIDE; c++)
                sum += blocks[r][c] * basis[v][r] * basis[u][c];
        out[i] = (float)sum;
        /* Along the diagonal, up where u + v is even, and to the next one at the border. */
        if ((u + v) % 2 == 0)
            v ? (u++, v--) : u++;
        else
            u ? (u--, v++) : v++;
    }
}

/* Which kind of edge four averages show, 0..4, or 5: none. The standard's filters. */
static int edge_kind(double a, double b, double c, double d)
{
    const double root = 1.41421356237309505;
    const double strengths[5] = {fabs(a - b + c - d), fabs(a + b - c - d), fabs(root * a - root * d), fabs(root * b - root * c),
                                 fabs(2 * a - 2 * b - 2 * c + 2 * d)};
    int best = 0;
    for (int i = 1; i < 5; i++)
        if (strengths[i] > strengths[best])
            best = i;
    return strengths[best] >= edge_threshold ? best : 5;
}

/* For each of 4 x 4 parts the share of its blocks of 2 x 2 cells that show each kind of edge. */
static void edges(double y[RV_GRID][RV_GRID], float *out)
{
    enum { PART = RV_GRID / 4 };
    for (int i = 0; i < RV_EDGES; i++)
        out[i] = 0;
    for (int r = 0; r < RV_GRID; r += 2)
        for (int c = 0; c < RV_GRID; c += 2)
            out[(r / PART * 4 + c / PART) * 6 + edge_kind(y[r][c], y[r][c + 1], y[r + 1][c], y[r + 1][c + 1])] += 4.0f / (PART * PART);
}

void rv_descriptor(const struct rv_image *image, float vector[RV_DESCRIPTOR])
{
    struct planes p;
    float *colours = vector, *kinds = vector + RV_COLOURS;
    to_planes(image, &p);
    layout(p.y, 127.5, colours, RV_COLOUR_Y);
    layout(p.cb, 0, colours + RV_COLOUR_Y, RV_COLOUR_C);
    layout(p.cr, 0, colours + RV_COLOUR_Y + RV_COLOUR_C, RV_COLOUR_C);
    colours[RV_COLOURS - 1] = (float)calm;
    double square = 0;
    for (int i = 0; i < RV_COLOURS; i++)
        square += (double)colours[i] * colours[i];
    for (int i = 0; i < RV_COLOURS; i++)
        colours[i] = (float)(colours[i] * sqrt(colour_share / square));
    edges(p.y, kinds);
    /* The shares of a part add up to 1, so that the squares of their roots do. */
    for (int i = 0; i < RV_EDGES; i++)
        kinds[i] = (float)sqrt(kinds[i] * (1 - colour_share) / 16);
}
