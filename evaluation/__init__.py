"""Clusters of embeddings, scored and compared; knows nothing of torch, of where artifacts lie, or of their order.

In use: `evaluation = evaluate(Inputs(dataset="demo", prepared=prepared, runs=runs))`, then
`report.write(evaluation, folder)` and `headline(evaluation)`.
"""
