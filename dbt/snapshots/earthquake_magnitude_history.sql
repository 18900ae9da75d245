{% snapshot earthquake_magnitude_history %}

{%- set window = build_window() %}

with

events as (
    select * from {{ ref('live_earthquake_events') }}
    {%- if window %}
    -- The history of an event that did not change does not change.
    where
        inserted_at > {{ window.after }}
        and inserted_at <= {{ window.until }}
        and (occurred_at between {{ window.from }} and {{ window.to }} or occurred_at is null)
    {%- endif %}
),

final as (
    select
        event_id,
        magnitude_type,
        review_status,
        magnitude,
        updated_at,
        inserted_at,
    from events
)

select * from final

{% endsnapshot %}
