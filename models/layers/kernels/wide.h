/* Where C_b fills half of the longest vectors at most, VECTOR_BYTES is half of their length. What includes this works
   along rows of F, which are whole vectors of full length, or along the pixels of a line: all names of vectors.h stand
   for those from here on. Lengths of rows of C_b come from mixing.h. */

#ifdef WIDE_BYTES
#undef VECTOR_BYTES
#define VECTOR_BYTES WIDE_BYTES
#undef EACH
#undef OTHER
#undef SWAPPED
#undef UPPER
#undef LOWER
#undef CHANGE
#undef MAX
#undef MIN
#undef ROOT
#undef FIRST
#undef LOAD_FIRST
#undef STORE_FIRST
#define vec wide_vec
#define uvec wide_uvec
#define bits wide_bits
#define all wide_all
#define load wide_load
#define store wide_store
#define load_some wide_load_some
#define store_some wide_store_some
#define larger wide_larger
#define sum wide_sum
#define most wide_most
#define clamp wide_clamp
#define exponential wide_exponential
#define sig wide_sig
#define tile wide_tile
#define product wide_product
#define turned_tile wide_turned_tile
#define turned_product wide_turned_product
#define copy_rows wide_copy_rows
#define turn wide_turn
#define deviations wide_deviations
#include "vectors.h"
#endif
