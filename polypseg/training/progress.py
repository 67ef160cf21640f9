"""What a run tells while it trains."""


class Progress:
    """Told of what happens; a subclass shows it. These methods do nothing."""

    def fold_begins(self, number, folds, subsets):
        """Fold `number` of `folds` begins; `subsets` are its lists of pairs, by name."""

    def epoch_begins(self, number, epochs, steps):
        """Epoch `number` of `epochs` begins, counted from 1; it has `steps` steps."""

    def step_ends(self, loss, dice):
        """The means of this epoch so far, on training images."""

    def epoch_ends(self, scores, seconds, better):
        """`scores` has loss, dice, val_loss, val_dice and val_iou; `better`: the best epoch so
        far.
        """
