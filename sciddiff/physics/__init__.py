"""How instruments degrade a scene: differentiable, batched, in torch."""
