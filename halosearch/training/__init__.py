"""Full training of a candidate: pictures of any size of data set, the recipe, the loop, weights moved to another network, export."""
