{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key='event_id',
        partition_by={'field': 'occurred_at', 'data_type': 'timestamp', 'granularity': 'month'},
        cluster_by=['event_id'],
        require_partition_filter=true,
        incremental_predicates=[
            "{{ merge_range(ref('stg_usgs__events'), 'occurred_at', 'event_id') }}",
        ],
        on_schema_change='fail',
    )
}}

{%- if is_incremental() %}
    {%- set window = incremental_window(ref('stg_usgs__events'), 'occurred_at', 'event_id') %}
{%- endif %}

with

events as (
    select * from {{ ref('stg_usgs__events') }}
    {%- if is_incremental() %}
    where
        inserted_at > {{ window.after }}
        and inserted_at <= {{ window.until }}
        and (
            occurred_at between {{ window.changed_from }} and {{ window.changed_to }}
            or occurred_at is null
        )
    {%- endif %}
),

final as (
    select
        event_id,

        place,
        event_type,
        magnitude_type,
        review_status,
        pager_alert,
        event_ids,
        event_url,

        magnitude,
        longitude_degrees,
        latitude_degrees,
        depth_km,
        significance,
        felt_reports,
        reported_intensity,
        estimated_intensity,

        is_tsunami_candidate,
        is_deleted,

        occurred_at,
        updated_at,
        inserted_at,
    from events
)

select * from final
